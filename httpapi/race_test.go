//go:build race

package httpapi_test

// hostBytes is less under the race detector, where decoding JSON is many
// times slower.
const hostBytes = 4 << 20
