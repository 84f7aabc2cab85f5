//go:build !race

package httpapi_test

// hostBytes is what each of many followers gets on the host.
const hostBytes = 64 << 20
