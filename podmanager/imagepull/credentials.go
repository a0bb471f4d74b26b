package imagepull

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

// Secrets is where pull secrets are found. Secret may block; it must return
// when ctx ends, and have a deadline of its own. Without error there is a
// secret, which is only read.
type Secrets interface {
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// noSecrets has none.
type noSecrets struct{}

func (noSecrets) Secret(context.Context, string, string) (*corev1.Secret, error) {
	return nil, errors.New("there is no source of secrets")
}

// credentials returns what to try for the image, in order: those of the pod's pull
// secrets, then the node's, then what the plugins return. missing are the secrets that
// gave none because they could not be had or read.
func (p *Puller) credentials(ctx context.Context, pod *corev1.Pod, image string) (found []credentials, missing []string) {
	ofPod, missing := p.podLogins(ctx, pod)
	ofPlugins := p.providers.logins(ctx, image, p.log)
	ofNode := slices.Concat(lookup(p.nodeLogins(), image), lookup(ofPlugins, image))
	for _, c := range lookup(ofPod, image) {
		c.ofPod = !slices.Contains(ofNode, c)
		found = append(found, c)
	}
	var unique []credentials
	for _, c := range slices.Concat(found, ofNode) {
		if !slices.Contains(unique, c) {
			unique = append(unique, c)
		}
	}
	return unique, missing
}

func (p *Puller) podLogins(ctx context.Context, pod *corev1.Pod) (logins []login, missing []string) {
	for _, reference := range pod.Spec.ImagePullSecrets {
		if reference.Name == "" { // which the API server lets pass
			continue
		}
		log := p.log.With(zap.String("pod", pod.Namespace+"/"+pod.Name), zap.String("secret", reference.Name))
		found, malformed, err := p.secretLogins(ctx, pod.Namespace, reference.Name)
		if err != nil {
			log.Warn("pull secret set aside", zap.Error(err))
			missing = append(missing, reference.Name)
		}
		if malformed > 0 {
			log.Warn("malformed entries of pull secret set aside", zap.Int("entries", malformed))
		}
		logins = append(logins, found...)
	}
	return logins, missing
}

func (p *Puller) secretLogins(ctx context.Context, namespace, name string) (logins []login, malformed int, err error) {
	secret, err := p.secrets.Secret(ctx, namespace, name)
	if err != nil {
		return nil, 0, err
	}
	return parseSecret(secret)
}

// nodeLogins reads the node's docker config anew, as it may have been rotated.
func (p *Puller) nodeLogins() []login {
	if p.dockerConfig == "" {
		return nil
	}
	content, err := os.ReadFile(p.dockerConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var logins []login
	var malformed int
	if err == nil {
		logins, malformed, err = parseDockerConfig(content)
	}
	if err != nil {
		p.log.Warn("docker config of the node set aside", zap.String("path", p.dockerConfig), zap.Error(err))
	}
	if malformed > 0 {
		p.log.Warn("malformed entries of the node's docker config set aside", zap.String("path", p.dockerConfig), zap.Int("entries", malformed))
	}
	return logins
}
