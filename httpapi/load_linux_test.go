package httpapi_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"jobworker/httpapi"
	"jobworker/stream"
)

const followers = 200

// followedBytes is the output that each of many followers gets: on an emulated
// processor little, since there the network is not what is tested.
func followedBytes() int64 {
	if os.Getenv("KERNELTEST") == "vm" {
		return 256 << 10
	}
	return hostBytes
}

// Followers that join at random times each have every byte, while one of them
// never reads.
func TestManyFollowers(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	// A quarter at once, the rest over about two seconds.
	script := fmt.Sprintf(`head -c %d /dev/urandom; for i in 1 2 3; do sleep 0.6; head -c %[1]d /dev/urandom; done`, followedBytes()/4)
	j := f.start(c, script)
	f.open(t.Context(), f.plain("HTTP/2.0", f.identity("alice", 0, operator)), follow, j.ID) // never read

	sums := make([]string, followers)
	var wg sync.WaitGroup
	clients := []*httpapi.Client{c, f.client("eve", viewer), f.client("root", admin)}
	for i := range followers {
		joinAfter := rand.N(2 * time.Second)
		wg.Go(func() {
			time.Sleep(joinAfter) // joins at a random time; nothing waits for it
			sum, err := follower(t, clients[i%len(clients)], j.ID)
			if err != nil {
				t.Errorf("follower %d, joined after %s: %v", i, joinAfter, err)
			}
			sums[i] = sum
		})
	}
	wg.Wait()
	want, err := follower(t, c, j.ID) // when all is written
	if err != nil {
		t.Fatal(err)
	}
	for i, sum := range sums {
		if sum != want {
			t.Errorf("follower %d has other bytes: %s, want %s", i, sum, want)
		}
	}
}

// follower follows a job to its end and returns the hash of its output.
func follower(t *testing.T, c *httpapi.Client, id string) (string, error) {
	s, err := c.Output(t.Context(), id, httpapi.OutputOptions{Follow: true})
	if err != nil {
		return "", err
	}
	defer s.Close()
	h, n := sha256.New(), int64(0)
	for {
		fr, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		if fr.Type == stream.TypeOutput && fr.Offset != n {
			return "", fmt.Errorf("a frame at offset %d, after %d bytes", fr.Offset, n)
		}
		h.Write(fr.Data)
		n += int64(len(fr.Data))
	}
	if end, _ := s.End(); n != followedBytes() || end.Reason != stream.EndComplete {
		return "", fmt.Errorf("%d bytes, want %d; end %+v", n, followedBytes(), end)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
