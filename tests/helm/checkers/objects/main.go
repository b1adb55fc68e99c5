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

	"github.com/expr-lang/expr"
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
	switch made := object.(type) {
	case *rayv1.RayService:
		return name, errors.Join(utils.ValidateRayServiceMetadata(made.ObjectMeta), utils.ValidateRayServiceSpec(made))
	case *kedav1alpha1.ScaledObject:
		return name, scaling(made)
	}
	return name, nil
}

// scaling does what KEDA's admission webhook does about a formula, and runs it for each failure of the triggers: KEDA
// gives it no value of a trigger that failed, and takes no value of the formula for the fallback's replicas.
func scaling(made *kedav1alpha1.ScaledObject) error {
	if !made.IsUsingModifiers() {
		return nil
	}
	formula, err := kedav1alpha1.ValidateAndCompileScalingModifiers(made)
	if err != nil {
		return err
	}
	if !made.FallbackScalingModifiers() {
		return errors.New("a failed trigger keeps KEDA from asking the formula: fallback.behavior is not scalingModifiers")
	}
	for failed := range 1 << len(made.Spec.Triggers) {
		values := map[string]any{}
		for place, trigger := range made.Spec.Triggers {
			values[trigger.Name] = 7.0
			if failed&(1<<place) != 0 {
				values[trigger.Name] = nil
			}
		}
		if _, err := expr.Run(formula, values); err != nil {
			return fmt.Errorf("with failed triggers %b: %w", failed, err)
		}
	}
	return nil
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
