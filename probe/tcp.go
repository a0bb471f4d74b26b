package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// connect checks that a TCP port takes connections.
func connect(ctx context.Context, action *corev1.TCPSocketAction, target Target, timeout time.Duration) (Outcome, error) {
	address, err := addressOf(action.Host, action.Port, target)
	if err != nil {
		return Outcome{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return outcome(Failure, err.Error()), nil
	}
	// The port has answered: what becomes of the connection says nothing more.
	_ = conn.Close()
	return outcome(Success, ""), nil
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dial connects so that the closed connection does not hold its local port for
// a minute: a node does many checks.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetLinger(1); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, nil
}

// addressOf is where a check with that host and port goes: to the pod, unless
// it names a host.
func addressOf(host string, port intstr.IntOrString, target Target) (string, error) {
	number, err := resolvePort(port, target.Ports)
	if err != nil {
		return "", err
	}
	host = cmp.Or(host, target.PodIP)
	if host == "" {
		return "", errors.New("the pod has no IP address")
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

// resolvePort returns the number of a port that is given by number, by the name
// of one of the container's ports, or by a number written as a string.
func resolvePort(port intstr.IntOrString, ports []corev1.ContainerPort) (int, error) {
	number := int(port.IntVal)
	if port.Type == intstr.String {
		var err error
		if number, err = portNamed(port.StrVal, ports); err != nil {
			return 0, err
		}
	}
	if number < 1 || number > 65535 {
		return 0, fmt.Errorf("port %s is not between 1 and 65535", port.String())
	}
	return number, nil
}

func portNamed(name string, ports []corev1.ContainerPort) (int, error) {
	for _, port := range ports {
		if port.Name == name {
			return int(port.ContainerPort), nil
		}
	}
	number, err := strconv.Atoi(name)
	if err != nil {
		return 0, fmt.Errorf("the container has no port named %q", name)
	}
	return number, nil
}
