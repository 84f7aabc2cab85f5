package httpapi

import "net/http"

// whoami serves GET /v1/whoami.
func (x *exchange) whoami() error {
	groups := x.who.Groups
	if groups == nil {
		groups = []string{}
	}
	return x.reply(http.StatusOK, WhoAmI{
		User: x.who.User, Groups: groups, Rights: x.policy.Rights(x.who),
		Fingerprint: x.who.Fingerprint, NotAfter: x.who.NotAfter,
	})
}

// live serves GET /livez and GET /readyz: a worker that serves is ready, and one
// that shuts down refuses every request.
func (x *exchange) live() error { return x.reply(http.StatusOK, health{"ok"}) }
