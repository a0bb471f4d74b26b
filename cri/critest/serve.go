package critest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

const (
	// endpoint is the address that clients of the in-memory connection show.
	endpoint = "/critest"

	// maxMessageSize is containerd's default, for both directions.
	maxMessageSize = 16 << 20

	connBuffer = 64 << 10
)

var errDown = errors.New("critest: the runtime is down: connection refused")

// service implements the CRI's two services. What it does not override is
// Unimplemented.
type service struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer
	r *Runtime
}

// front is the door of the runtime: it serves gRPC to whoever comes in, and
// can be shut and opened again like that of a restarting daemon.
type front struct {
	r *Runtime

	// shutting is set while the calls under way end because the daemon does.
	shutting atomic.Bool

	mu        sync.Mutex // guards the rest
	server    *grpc.Server
	memory    *bufconn.Listener // in-memory connections of this server
	door      *door             // connections that outer listeners accepted
	serving   sync.WaitGroup
	listeners map[net.Listener]struct{}
	accepting sync.WaitGroup
	down      bool
	reopen    *time.Timer
	onReopen  []func() // what is left to do before the door opens again
	closed    bool
}

func newFront(r *Runtime) *front {
	return &front{r: r, listeners: map[net.Listener]struct{}{}}
}

// Serve serves the CRI to the connections of a listener, a unix socket for
// one. It blocks until the runtime is closed, then returns nil, or until the
// listener fails. Several listeners may be served at once. It closes the
// listener. In a synctest bubble use Client or DialContext instead: a bubble's
// time stands still while somebody waits for a socket.
func (r *Runtime) Serve(listener net.Listener) error {
	f := r.front
	if !f.admit(listener) {
		return errors.Join(errDown, listener.Close())
	}
	defer f.accepting.Done()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return f.forget(listener, err)
		}
		if !f.hand(conn) {
			_ = conn.Close()
		}
	}
}

// DialContext makes an in-memory connection to the runtime; the address does
// not matter. It fails while the runtime is down and after Close. It fits
// cri.Config.DialContext and grpc.WithContextDialer.
func (r *Runtime) DialContext(ctx context.Context, _ string) (net.Conn, error) {
	memory, err := r.front.inMemory()
	if err != nil {
		return nil, err
	}
	return memory.DialContext(ctx)
}

// Dial returns a client that is connected in memory. It blocks until the
// runtime has answered. The caller closes the client.
func (r *Runtime) Dial(ctx context.Context, cfg cri.Config) (*cri.Client, error) {
	cfg.DialContext = r.DialContext
	client, err := cri.Dial(ctx, endpoint, cfg)
	if err != nil {
		return nil, fmt.Errorf("dial critest: %w", err)
	}
	return client, nil
}

// Client is Dial for a test, which it fails when the runtime does not answer.
// The client is closed when the test ends.
func (r *Runtime) Client(tb TB) *cri.Client {
	tb.Helper()
	client, err := r.Dial(context.Background(), cri.Config{})
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() { _ = client.Close(context.Background()) })
	return client
}

// open starts a server; the caller holds mu.
func (f *front) open() {
	f.server = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessageSize), grpc.MaxSendMsgSize(maxMessageSize),
		grpc.UnaryInterceptor(f.r.interceptUnary), grpc.StreamInterceptor(f.r.interceptStream),
		grpc.WaitForHandlers(true))
	calls := &service{r: f.r}
	runtimeapi.RegisterRuntimeServiceServer(f.server, calls)
	runtimeapi.RegisterImageServiceServer(f.server, calls)
	f.memory, f.door = bufconn.Listen(connBuffer), newDoor()
	server := f.server
	for _, listener := range []net.Listener{f.memory, f.door} {
		f.serving.Go(func() { _ = server.Serve(listener) })
	}
}

// shut ends the server and every call under way; the caller holds mu.
func (f *front) shut() {
	if f.server == nil {
		return
	}
	f.shutting.Store(true)
	f.server.Stop()
	f.serving.Wait()
	f.server = nil
	f.shutting.Store(false)
}

// ensure opens the server on the first use; the caller holds mu.
func (f *front) ensure() error {
	if f.down || f.closed {
		return errDown
	}
	if f.server == nil {
		f.open()
	}
	return nil
}

func (f *front) inMemory() (*bufconn.Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ensure(); err != nil {
		return nil, err
	}
	return f.memory, nil
}

// restart shuts the door, calls off, and opens it again after a while, calling
// on just before. A restart of what is down already only moves the opening.
func (f *front) restart(down time.Duration, off, on func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.stopTimer()
	f.shut()
	off()
	f.onReopen = append(f.onReopen, on)
	f.down = true
	if down <= 0 {
		f.comeBack()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(down, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.reopen == timer && !f.closed {
			f.comeBack()
		}
	})
	f.reopen = timer
}

// comeBack ends the time that the runtime is down; the caller holds mu.
func (f *front) comeBack() {
	for _, on := range f.onReopen {
		on()
	}
	f.down, f.reopen, f.onReopen = false, nil, nil
	f.open()
}

func (f *front) stopTimer() {
	if f.reopen != nil {
		f.reopen.Stop()
		f.reopen = nil
	}
}

func (f *front) close() {
	f.mu.Lock()
	f.closed = true
	f.stopTimer()
	f.shut()
	for listener := range f.listeners {
		_ = listener.Close()
	}
	f.mu.Unlock()
	f.accepting.Wait()
}

// admit notes a listener that is being served.
func (f *front) admit(listener net.Listener) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.listeners[listener] = struct{}{}
	f.accepting.Add(1)
	return true
}

// forget is the end of a listener, with the error for whom served it.
func (f *front) forget(listener net.Listener, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.listeners, listener)
	if f.closed {
		return nil
	}
	return errors.Join(fmt.Errorf("critest: accept: %w", err), listener.Close())
}

// hand gives an accepted connection to the server.
func (f *front) hand(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ensure() == nil && f.door.enter(conn)
}

// door is a net.Listener of connections that others accepted.
type door struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newDoor() *door {
	return &door{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (d *door) enter(conn net.Conn) bool {
	select {
	case d.conns <- conn:
		return true
	case <-d.done:
		return false
	}
}

func (d *door) Accept() (net.Conn, error) {
	select {
	case conn := <-d.conns:
		return conn, nil
	case <-d.done:
		return nil, net.ErrClosed
	}
}

func (d *door) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

func (d *door) Addr() net.Addr { return &net.UnixAddr{Name: endpoint, Net: "unix"} }
