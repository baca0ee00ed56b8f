// What the Prometheus operator makes of an AlertmanagerConfig: Alertmanager's configuration, as YAML.
//
//	operator-route STRATEGY NAMESPACE < base.yaml and the AlertmanagerConfig, as two YAML documents
//
// STRATEGY is alertmanagerConfigMatcherStrategy.type of the Alertmanager object, which lives in NAMESPACE. A Secret that is
// referred to holds "secret" under every key.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/blang/semver/v4"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1alpha1"
	"github.com/prometheus-operator/prometheus-operator/pkg/alertmanager"
	"github.com/prometheus-operator/prometheus-operator/pkg/assets"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: operator-route STRATEGY NAMESPACE < base.yaml and AlertmanagerConfig")
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	base, object, found := bytes.Cut(input, []byte("\n---\n"))
	if !found {
		return fmt.Errorf("two YAML documents are wanted")
	}
	var config v1alpha1.AlertmanagerConfig
	if err := yaml.UnmarshalStrict(object, &config); err != nil {
		return err
	}
	var about monitoringv1.Alertmanager
	about.Namespace = os.Args[2]
	about.Spec.AlertmanagerConfigMatcherStrategy.Type = monitoringv1.AlertmanagerConfigMatcherStrategyType(os.Args[1])

	builder := alertmanager.NewConfigBuilder(
		slog.New(slog.NewTextHandler(os.Stderr, nil)),
		semver.MustParse("0.31.1"),
		assets.NewTestStoreBuilder(secrets(&config)...),
		&about,
	)
	if err := builder.InitializeFromRawConfiguration(base); err != nil {
		return err
	}
	configs := map[string]*v1alpha1.AlertmanagerConfig{config.Namespace + "/" + config.Name: &config}
	if err := builder.AddAlertmanagerConfigs(context.Background(), configs); err != nil {
		return err
	}
	made, err := builder.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(made)
	return err
}

// The Secrets that the webhooks' tokens are in.
func secrets(config *v1alpha1.AlertmanagerConfig) []any {
	var found []any
	for _, receiver := range config.Spec.Receivers {
		for _, hook := range receiver.WebhookConfigs {
			if hook.HTTPConfig == nil || hook.HTTPConfig.Authorization == nil {
				continue
			}
			token := hook.HTTPConfig.Authorization.Credentials
			found = append(found, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: token.Name, Namespace: config.Namespace},
				Data:       map[string][]byte{token.Key: []byte("secret")},
			})
		}
	}
	return found
}
