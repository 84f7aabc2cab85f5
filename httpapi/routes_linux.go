package httpapi

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// A route is one row of the API.
type route struct {
	method, path string
	body         bool     // the request may have a body
	params       []string // the query parameters it may have
	serve        func(*exchange) error
}

// routes is the whole API.
func routes() []route {
	output := []string{"follow", "offset", "tail_lines", "stream", "since", "limit", "format"}
	return []route{
		{"POST", "/v1/jobs", true, []string{"follow"}, (*exchange).start},
		{"GET", "/v1/jobs", false, []string{"state", "owner", "label", "limit", "page_token"}, (*exchange).list},
		{"GET", "/v1/jobs/{id}", false, []string{"wait"}, (*exchange).status},
		{"DELETE", "/v1/jobs/{id}", false, nil, (*exchange).remove},
		{"POST", "/v1/jobs/{id}/stop", true, nil, (*exchange).stop},
		{"POST", "/v1/jobs/{id}/signal", true, nil, (*exchange).signal},
		{"PUT", "/v1/jobs/{id}/stdin", true, []string{"offset", "close"}, (*exchange).stdin},
		{"GET", "/v1/jobs/{id}/output", false, output, (*exchange).output},
		{"POST", "/v1/calculate", true, nil, (*exchange).calculate},
		{"POST", "/v1/ping", false, nil, (*exchange).ping},
		{"GET", "/v1/events", false, []string{"since"}, (*exchange).events},
		{"GET", "/v1/worker", false, nil, (*exchange).worker},
		{"POST", "/v1/worker/start", false, nil, (*exchange).startWorker},
		{"POST", "/v1/worker/stop", false, nil, (*exchange).stopWorker},
		{"POST", "/v1/worker/terminate", false, nil, (*exchange).terminate},
		{"GET", "/v1/whoami", false, nil, (*exchange).whoami},
		{"GET", "/livez", false, nil, (*exchange).live},
		{"GET", "/readyz", false, nil, (*exchange).ready},
	}
}

// handler serves routes. ServeMux would answer in plain text what is not among
// them, so a pattern without a method stands below each path for the 405, and
// one for the whole tree for the 404.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	allow := make(map[string][]string)
	for _, rt := range routes() {
		mux.HandleFunc(rt.method+" "+rt.path, s.serve(rt.run))
		allow[rt.path] = append(allow[rt.path], rt.method)
	}
	for p, methods := range allow {
		mux.HandleFunc(p, s.serve(methodNotAllowed(methods)))
	}
	notFound := s.serve(func(x *exchange) error { return notFound(x.r.URL.Path) })
	mux.HandleFunc("/", notFound)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// ServeMux redirects a path with dots or empty segments to one
		// without: an id such as ".." would become another endpoint.
		if p := r.URL.Path; !strings.HasPrefix(p, "/") || path.Clean(p) != p {
			notFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (rt route) run(x *exchange) error {
	if !rt.body && x.r.ContentLength != 0 {
		return problem(TypeBadRequest, "this request has no body")
	}
	var err error
	if x.query, err = parseParams(x.r.URL.RawQuery, rt.params); err != nil {
		return err
	}
	return rt.serve(x)
}

// notFound is the one answer to every path that leads nowhere. Below /v1/jobs/
// it is byte for byte that for a job which is not there, and that for a job
// which is not the client's to see.
func notFound(path string) *Problem {
	if strings.HasPrefix(path, "/v1/jobs/") {
		return problem(TypeNotFound, "no such job")
	}
	return problem(TypeNotFound, "no such endpoint")
}

func methodNotAllowed(methods []string) func(*exchange) error {
	if slices.Contains(methods, "GET") {
		methods = append(methods, "HEAD") // ServeMux serves it as GET
	}
	slices.Sort(methods)
	allow := strings.Join(methods, ", ")
	return func(x *exchange) error {
		x.w.Header().Set("Allow", allow)
		return wrong(TypeMethodNotAllowed, "", x.r.Method, "use one of "+allow)
	}
}
