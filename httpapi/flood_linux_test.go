package httpapi_test

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jobworker/httpapi"
)

// More of what h2Frame is for.
const (
	h2Priority     = 0x2
	h2Ping         = 0x6
	h2WindowUpdate = 0x8
	h2Continuation = 0x9
)

// h2Get is a request for /livez, complete in one frame.
func h2Get(stream uint32) []byte {
	return h2Frame(h2Headers, h2EndStream|h2EndHeaders, stream, h2Fields(":method=GET", ":scheme=https", ":authority=worker", ":path=/livez"))
}

// A flood is what a client sends over one connection, piece by piece, as fast as it goes.
type flood struct {
	name  string
	first []byte                // once
	piece func(i uint32) []byte // i counts from 0
	read  bool                  // the client reads what comes back
	most  int64                 // bytes by which the connection must have been cut; 0: it need not be
}

func floods() []flood {
	code := binary.BigEndian.AppendUint32(nil, 8) // CANCEL, and a window of 8
	post := h2Frame(h2Headers, h2EndHeaders, 1, h2Fields(":method=POST", ":scheme=https", ":authority=worker", ":path=/v1/jobs", "content-type=application/json"))
	fields := []byte(strings.Repeat(string(h2Fields("x="+strings.Repeat("y", 120))), 100))
	const mib = 1 << 20
	return []flood{
		// CVE-2023-44487: each request is work, and none counts as open.
		{"rapid reset", nil, func(i uint32) []byte {
			return append(h2Get(2*i+1), h2Frame(h2Reset, 0, 2*i+1, code)...)
		}, true, 0},
		// CVE-2025-8671: it is the server who resets, for a window update of 0.
		{"made to reset", nil, func(i uint32) []byte {
			return append(h2Get(2*i+1), h2Frame(h2WindowUpdate, 0, 2*i+1, make([]byte, 4))...)
		}, true, 0},
		// CVE-2023-45288: a header that never ends.
		{"continuation", h2Frame(h2Headers, h2EndStream, 1, h2Fields(":method=GET")), func(uint32) []byte {
			return h2Frame(h2Continuation, 0, 1, fields)
		}, true, 8 * mib},
		{"empty continuation", h2Frame(h2Headers, h2EndStream, 1, h2Fields(":method=GET")), func(uint32) []byte {
			return h2Frame(h2Continuation, 0, 1, nil)
		}, true, 0},
		// CVE-2019-9512 and -9515: answers that nobody reads. Those to settings are made into one.
		{"ping", nil, func(uint32) []byte { return h2Frame(h2Ping, 0, 0, make([]byte, 8)) }, false, 64 * mib},
		{"settings", nil, func(uint32) []byte { return h2Frame(h2Settings, 0, 0, nil) }, false, 0},
		{"settings that change something", nil, func(i uint32) []byte {
			return h2Frame(h2Settings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, 4}, 65535+i%1000)) // INITIAL_WINDOW_SIZE
		}, true, 0},
		// CVE-2019-9518 and -9513.
		{"empty data", post, func(uint32) []byte { return h2Frame(h2Data, 0, 1, nil) }, true, 0},
		{"priority", nil, func(i uint32) []byte {
			return h2Frame(h2Priority, 0, 2*(i%1000)+1, make([]byte, 5))
		}, true, 0},
		{"window update", nil, func(uint32) []byte { return h2Frame(h2WindowUpdate, 0, 0, []byte{0, 0, 0, 1}) }, true, 0},
	}
}

// run sends the flood until stop is set, over a new connection when one is cut. One that must be
// cut it sends once, and returns the error that it was not.
func (fl flood) run(f *fixture, cfg *tls.Config, stop *atomic.Bool) error {
	for {
		conn := f.dialH2(cfg)
		drained := make(chan struct{})
		go func() { // ends with the connection
			defer close(drained)
			if fl.read {
				io.Copy(io.Discard, conn)
			}
		}()
		sent, err := fl.pour(conn, stop)
		conn.Close()
		<-drained
		switch {
		case fl.most > 0 && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)):
			return fmt.Errorf("not cut after %d bytes: %v", sent, err)
		case fl.most > 0, stop.Load():
			return nil
		}
	}
}

func (fl flood) pour(conn *tls.Conn, stop *atomic.Bool) (sent int64, err error) {
	piece := fl.first
	for i := uint32(0); fl.most > 0 && sent < fl.most || fl.most == 0 && !stop.Load(); {
		for ; len(piece) < 16<<10; i++ {
			piece = append(piece, fl.piece(i)...)
		}
		n, err := conn.Write(piece)
		sent += int64(n)
		if err != nil {
			return sent, err
		}
		piece = piece[:0]
	}
	return sent, nil
}

// What a client can do with frames that cost it little is bounded: in memory, in goroutines, and in
// what it takes from others. Afterwards nothing is left.
func TestFloods(t *testing.T) {
	const (
		memory     = 64 << 20 // of which a part is the test's own
		goroutines = 1000     // 250 handlers on a connection, and those of the test
	)
	f := newFixture(t, func(c *httpapi.Config) { c.WriteTimeout = time.Second })
	mallory, bob := f.identity("mallory", 0, viewer), f.identity("bob", 0, operator)
	quiet := f.median("127.0.0.99", bob)
	list := floods()
	if os.Getenv("KERNELTEST") == "vm" {
		list = list[:3] // on an emulated processor; frames are not the kernel's
	}
	for _, fl := range list {
		t.Run(fl.name, func(t *testing.T) {
			before := heap()
			var stop atomic.Bool
			done := make(chan error, 1)
			go func() { done <- fl.run(f, mallory, &stop) }()
			f.unharmed(fl.name, quiet, bob)
			if n := runtime.NumGoroutine(); n > goroutines {
				t.Errorf("%d goroutines", n)
			}
			if grown := heap() - before; grown > memory {
				t.Errorf("%d bytes more of memory", grown)
			}
			stop.Store(true)
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	f.live("127.0.0.99", bob)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The requests of one connection are bounded. To a client that may not know yet, as it has not
// acknowledged the settings, the next is refused as not begun: REFUSED_STREAM (7), RFC 9113
// section 8.7.
func TestStreamsPerConnection(t *testing.T) {
	const most = 250
	f := newFixture(t, nil)
	j := f.start(f.client("root", admin), "exec sleep 1000")
	conn := f.dialH2(f.identity("root", 0, admin))
	answered := 0
	for i := range uint32(most + 1) {
		get := h2Fields(":method=GET", ":scheme=https", ":authority=worker", ":path=/v1/jobs/"+j.ID+"/output?follow=true")
		if _, err := conn.Write(h2Frame(h2Headers, h2EndStream|h2EndHeaders, 2*i+1, get)); err != nil {
			t.Fatal(err)
		}
	}
	for {
		kind, _, payload := f.readH2(conn)
		if kind == h2Headers {
			answered++
		}
		if kind == h2Reset || kind == h2GoAway {
			if code := binary.BigEndian.Uint32(payload[len(payload)-4:]); kind != h2Reset || code != 7 {
				t.Errorf("frame of type %d with code %d", kind, code)
			}
			break
		}
	}
	for answered < most {
		if kind, _, _ := f.readH2(conn); kind == h2Headers {
			answered++
		}
	}
}
