package critest

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// visit is one call on its way through the runtime: into the trace, through
// the faults, to the work, and through the faults again.
type visit struct {
	r    *Runtime
	call *Call
	hits []*activeFault
}

// enter is the way of a call up to the work, which is not done when it fails.
func (r *Runtime) enter(ctx context.Context, method string, request any) (*visit, error) {
	v := &visit{r: r, call: r.describe(method, request)}
	r.trace.begin(v.call)
	v.hits = r.faults.hitting(*v.call)
	if err := strike(ctx, v.hits, false); err != nil {
		return v, err
	}
	if r.cfg.Profile.lacks(v.call.Method) {
		return v, status.Errorf(codes.Unimplemented, "method %s not implemented", v.call.Method)
	}
	r.settle()
	return v, nil
}

// leave is the way of a call after the work, or after enter failed. It returns
// what the caller gets.
func (v *visit) leave(ctx context.Context, err error) error {
	if err == nil {
		err = strike(ctx, v.hits, true)
	}
	v.r.trace.end(v.call, err)
	return err
}

func (r *Runtime) interceptUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	v, err := r.enter(ctx, info.FullMethod, request)
	var response any
	if err == nil {
		response, err = handler(ctx, request)
	}
	if err := v.leave(ctx, err); err != nil {
		return nil, err
	}
	return response, nil
}

func (r *Runtime) interceptStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	visiting := &visitingStream{ServerStream: stream, r: r, method: info.FullMethod}
	err := handler(server, visiting)
	if visiting.visit == nil {
		return err
	}
	return visiting.visit.leave(stream.Context(), err)
}

// visitingStream enters the call when its handler reads the request.
type visitingStream struct {
	grpc.ServerStream
	r      *Runtime
	method string
	visit  *visit
}

func (s *visitingStream) RecvMsg(request any) error {
	err := s.ServerStream.RecvMsg(request)
	if err != nil || s.visit != nil {
		return err
	}
	s.visit, err = s.r.enter(s.Context(), s.method, request)
	return err
}
