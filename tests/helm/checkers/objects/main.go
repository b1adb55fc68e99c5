// Command objects reads Kubernetes objects as YAML from stdin, decodes each one into its maker's own Go type, in which
// every field has to exist, runs the maker's own validation where there is one, and prints one line for each object.
// Exits with 1 if an object is wrong, or of a kind that it does not know.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/utils"
	"github.com/ray-project/kuberay/ray-operator/pkg/features"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes/scheme"
	strict "sigs.k8s.io/yaml"
)

type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
}

func main() {
	types := scheme.Scheme
	for _, add := range []func(*runtime.Scheme) error{rayv1.AddToScheme, kedav1alpha1.AddToScheme, monitoringv1.AddToScheme} {
		must(add(types))
	}
	// The chart offers this strategy; KubeRay validates its options only while the gate is on.
	must(utilfeature.DefaultMutableFeatureGate.Set(string(features.RayServiceIncrementalUpgrade) + "=true"))
	reader := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	failed := false
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		must(err)
		name, err := check(types, document)
		switch {
		case err != nil:
			failed = true
			fmt.Printf("fail %s: %v\n", name, err)
		case name != "":
			fmt.Printf("ok %s\n", name)
		}
	}
	if failed {
		os.Exit(1)
	}
}

func check(types *runtime.Scheme, document []byte) (string, error) {
	var found head
	if err := strict.Unmarshal(document, &found); err != nil {
		return "a document", err
	}
	if found.Kind == "" {
		return "", nil // comments only
	}
	name := fmt.Sprintf("%s %s %s", found.APIVersion, found.Kind, found.Metadata.Name)
	object, err := types.New(schema.FromAPIVersionAndKind(found.APIVersion, found.Kind))
	if err != nil {
		return name, err
	}
	if err := strict.UnmarshalStrict(document, object); err != nil {
		return name, err
	}
	if service, is := object.(*rayv1.RayService); is {
		return name, errors.Join(utils.ValidateRayServiceMetadata(service.ObjectMeta), utils.ValidateRayServiceSpec(service))
	}
	return name, nil
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
