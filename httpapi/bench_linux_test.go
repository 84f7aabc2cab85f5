package httpapi_test

import (
	"io"
	"net/http"
	"testing"

	"jobworker/httpapi"
	"jobworker/stream"
)

// benchOutput is how many bytes the job of BenchmarkReplayTLS writes: lines of
// 80 characters, 64 KiB at a time.
const benchOutput = 256 << 20

// BenchmarkReplayTLS replays the recorded output of one job to one client over
// mutual TLS. Bytes are those of the payload, not of the JSON around them.
func BenchmarkReplayTLS(b *testing.B) {
	f := newFixture(b, nil)
	c := f.client("alice", operator)
	j := f.start(c, "yes '0123456789abcdef0123456789 abcdef0123456789abcdef 0123456789abcdef0123456789abc' | head -c 268435456")
	if j = f.ended(c, j.ID); j.OutputBytes != benchOutput {
		b.Fatalf("output: %d bytes, verdict %v", j.OutputBytes, j.Verdict)
	}
	for _, proto := range protocols {
		b.Run("body/"+proto, func(b *testing.B) {
			b.SetBytes(benchOutput)
			h := f.tuned(proto)
			for b.Loop() {
				readBody(b, h, f.url()+"/v1/jobs/"+j.ID+"/output")
			}
		})
	}
	b.Run("raw", func(b *testing.B) {
		b.SetBytes(benchOutput)
		h := f.tuned("HTTP/2.0")
		for b.Loop() {
			readBody(b, h, f.url()+"/v1/jobs/"+j.ID+"/output?format=raw")
		}
	})
	b.Run("frames", func(b *testing.B) {
		b.SetBytes(benchOutput)
		for b.Loop() {
			readFrames(b, c, j.ID)
		}
	})
}

// tuned is plain with the buffers of Client.
func (f *fixture) tuned(proto string) *http.Client {
	h := f.plain(proto, f.identity("alice", 0, operator))
	t := h.Transport.(*http.Transport)
	t.ReadBufferSize = 256 << 10
	t.HTTP2 = &http.HTTP2Config{MaxReadFrameSize: 1 << 20, MaxReceiveBufferPerStream: 4 << 20, MaxReceiveBufferPerConnection: 16 << 20}
	return h
}

func readBody(b *testing.B, h *http.Client, url string) {
	resp, err := h.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 1<<20)); err != nil || n < benchOutput || resp.StatusCode != 200 {
		b.Fatal(resp.Status, n, err)
	}
}

func readFrames(b *testing.B, c *httpapi.Client, id string) {
	s, err := c.Output(b.Context(), id, httpapi.OutputOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var n int
	for {
		fr, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		n += len(fr.Data)
	}
	if end, ok := s.End(); n != benchOutput || !ok || end.Reason != stream.EndComplete {
		b.Fatal(n, end)
	}
}
