package cache_test

import (
	"net"
	"sync"
	"testing"
)

// A proxy is a TCP connection's way to a server, which breaks when it is told to.
type proxy struct {
	address string

	mu    sync.Mutex
	conns []net.Conn
	limit int // of bytes to the server, after which the connection breaks; 0 for none
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: l.Addr().String()}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			limit := p.limit
			p.mu.Unlock()
			go pass(server, client, limit)
			go pass(client, server, 0)
		}
	}()
	return p
}

// pass copies one direction, up to limit bytes, and then closes both ends.
func pass(to, from net.Conn, limit int) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for sent := 0; limit == 0 || sent < limit; {
		n, err := from.Read(buf)
		if n > 0 {
			sent += n
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// breakAfter makes each next connection break after so many bytes; 0 ends that.
func (p *proxy) breakAfter(limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = limit
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}
