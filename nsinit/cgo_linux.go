//go:build linux && cgo

package nsinit

const cgo = true
