package httpapi_test

import (
	"io"
	"net/http"
	"os/exec"
	"slices"
	"testing"
	"time"

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

// BenchmarkStdinTLS writes to the input of a job that reads and drops it, over mutual
// TLS. Beside it the same bytes go through a pipe of one cat into another.
func BenchmarkStdinTLS(b *testing.B) {
	const size = 256 << 20
	piece := noise(1 << 20)
	body := func() io.Reader { return io.LimitReader(&endless{piece: piece}, size) }
	f := newFixture(b, nil)
	c := f.client("alice", operator)
	for _, proto := range protocols {
		b.Run(proto, func(b *testing.B) {
			b.SetBytes(size)
			h := f.tuned(proto)
			for b.Loop() {
				j := f.startReading(c, "exec cat > /dev/null")
				if resp, answer := f.put(h, j.ID, "", body()); resp.StatusCode != 200 {
					b.Fatal(answer)
				}
				f.ended(c, j.ID)
			}
		})
	}
	b.Run("cat", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			cmd := exec.Command("sh", "-c", "cat | cat > /dev/null")
			cmd.Stdin = body()
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// endless is piece over and over.
type endless struct {
	piece []byte
	next  int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.piece[e.next:])
	e.next = (e.next + n) % len(e.piece)
	return n, nil
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

// BenchmarkStartAPI times a job of /bin/true from the request to its verdict, over
// a connection that is open. Each turn also runs bubblewrap with a like root and
// the same namespaces, so that the ratio of the medians holds on a busy machine
// too. bubblewrap keeps no record and no output. With CGO_ENABLED=0 this binary,
// which is PID 1 of each job, is linked as the daemon is; without, it starts a
// millisecond later.
func BenchmarkStartAPI(b *testing.B) {
	f := newFixture(b, nil)
	c := f.client("alice", operator)
	spec := httpapi.Spec{Argv: []string{"/bin/true"}}
	b.Run("run", func(b *testing.B) {
		besideBwrap(b, func() *httpapi.Verdict {
			s, err := c.Run(b.Context(), spec, "")
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			return verdict(b, s)
		})
	})
	b.Run("start+wait", func(b *testing.B) {
		besideBwrap(b, func() *httpapi.Verdict {
			j, err := c.Start(b.Context(), spec, "")
			if err != nil {
				b.Fatal(err)
			}
			if j, err = c.Wait(b.Context(), j.ID, httpapi.MaxWait); err != nil {
				b.Fatal(err)
			}
			return j.Verdict
		})
	})
}

func besideBwrap(b *testing.B, run func() *httpapi.Verdict) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		b.Skip("needs the package bubblewrap: ", err)
	}
	var jobs, peers []time.Duration
	for b.Loop() {
		begin := time.Now()
		if v := run(); v == nil || v.Code == nil || *v.Code != 0 {
			b.Fatalf("verdict %+v", v)
		}
		middle := time.Now()
		if out, err := exec.Command(bwrap, bwrapArgs...).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		jobs, peers = append(jobs, middle.Sub(begin)), append(peers, time.Since(middle))
	}
	j, p := median(jobs), median(peers)
	b.ReportMetric(0, "ns/op") // of both together: says nothing
	b.ReportMetric(float64(j.Microseconds())/1000, "ms/job")
	b.ReportMetric(float64(p.Microseconds())/1000, "ms/bwrap")
	b.ReportMetric(float64(j)/float64(p), "job/bwrap")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// bwrapArgs build what a job sees.
var bwrapArgs = []string{
	"--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib",
	"--symlink", "usr/lib64", "/lib64", "--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/bin/true",
}

// verdict reads s to its end.
func verdict(t testing.TB, s *httpapi.Stream) *httpapi.Verdict {
	t.Helper()
	var v *httpapi.Verdict
	for {
		fr, err := s.Next()
		if err == io.EOF {
			return v
		}
		if err != nil {
			t.Fatal(err)
		}
		if fr.Type == stream.TypeExit {
			v = fr.Verdict
		}
	}
}
