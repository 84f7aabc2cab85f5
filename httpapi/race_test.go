//go:build race

package httpapi_test

// followedBytes is less under the race detector, where decoding JSON is many
// times slower.
const followedBytes = 4 << 20
