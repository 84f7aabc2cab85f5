package nsinit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// sealMark begins a seal, the last member of a sealed object.
const sealMark = `,"crc32c":"`

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Seal writes v, which becomes a JSON object with a member at least, as one line
// with a checksum of all that is before it as its last member:
//
//	{"v":1, … ,"crc32c":"e3069283"}
//
// It is for what a daemon reads back after a crash: an accident to a byte of it is
// found, not believed.
func Seal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	b = b[:len(b)-1]
	return fmt.Appendf(b, "%s%08x\"}\n", sealMark, crc32.Checksum(b, castagnoli)), nil
}

// Unseal returns the object in a line that Seal has written, without the seal.
func Unseal(line []byte) ([]byte, error) {
	i := bytes.LastIndex(line, []byte(sealMark))
	if i < 0 {
		return nil, errors.New("has no checksum: is not whole, or not of this program")
	}
	if want := fmt.Sprintf("%s%08x\"}\n", sealMark, crc32.Checksum(line[:i], castagnoli)); string(line[i:]) != want {
		return nil, errors.New("does not match its checksum: it was changed or damaged")
	}
	return append(line[:i:i], '}'), nil
}
