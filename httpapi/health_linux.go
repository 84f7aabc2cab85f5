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
		Grants: x.policy.Grants(x.who), Quota: x.policy.Quota(x.who), Used: x.s.cfg.Worker.Used(x.who.User),
		Fingerprint: x.who.Fingerprint, NotAfter: x.who.NotAfter,
	})
}

// live serves GET /livez.
func (x *exchange) live() error { return x.reply(http.StatusOK, health{"ok"}) }

// ready serves GET /readyz.
func (x *exchange) ready() error {
	if err := x.takesWork(); err != nil {
		return err
	}
	return x.live()
}
