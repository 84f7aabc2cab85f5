package main

import (
	"testing"

	"jobworker/authz"
)

// TestDescribeGrants: what is granted is told in the words of run's flags.
func TestDescribeGrants(t *testing.T) {
	all := authz.Grants{
		Profiles: []string{"host"}, Net: []string{"host"}, RunAs: []string{"*", "www-data"}, Userns: true,
		Rootfs: []authz.PathGrant{{Path: "/srv/roots"}}, Binds: []authz.PathGrant{{Path: "/srv/a"}, {Path: "/srv/b", Write: true}},
	}
	for _, tt := range []struct {
		grants authz.Grants
		want   string
	}{
		{authz.Grants{}, "none"},
		{all, "-profile host, -net host, -user *, -user www-data, -rootfs /srv/roots, -bind /srv/a, -bind /srv/b (rw), -userns"},
	} {
		if got := describeGrants(tt.grants); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
