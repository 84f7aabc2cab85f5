//go:build !race

package httpapi_test

// followedBytes is the output that each of many followers gets.
const followedBytes = 64 << 20
