package stream

import (
	"encoding/json"
	"testing"
)

// FuzzText: where our reading of a JSON string's inside succeeds, encoding/json reads the same, and the size is its
// length.
func FuzzText(f *testing.F) {
	f.Add([]byte(`plain`))
	f.Add([]byte(`\n\t\"\\\u001b\u2028é😀`))
	f.Add([]byte(`\ud800\udc00`))
	f.Add([]byte("\xff\x00\""))
	f.Fuzz(func(t *testing.T, inside []byte) {
		text, ok := appendText([]byte("x"), inside)
		if !ok {
			return
		}
		var want string
		quoted := append(append([]byte{'"'}, inside...), '"')
		if err := json.Unmarshal(quoted, &want); err != nil || string(text) != "x"+want {
			t.Errorf("%q: %q, encoding/json %q, %v", inside, text, want, err)
		}
		if n, ok := textSize(inside); !ok || n != int64(len(want)) {
			t.Errorf("size of %q: %d, %t, want %d", inside, n, ok, len(want))
		}
	})
}
