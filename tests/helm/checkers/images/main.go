// Command images checks what Docker would read, without Docker: `images dockerfile PATH` runs the checks of `docker
// build --check` for every target, `images compose PATH` loads a Compose file as `docker compose config` does. Prints
// what is wrong, one line each, and exits with 1 then. Base images are not looked up.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	digest "github.com/opencontainers/go-digest"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("images dockerfile|compose PATH"))
	}
	switch os.Args[1] {
	case "dockerfile":
		dockerfile(os.Args[2])
	case "compose":
		compose(os.Args[2])
	}
}

func dockerfile(path string) {
	file, err := os.Open(path)
	fail(err)
	parsed, err := parser.Parse(file)
	fail(err)
	stages, _, err := instructions.Parse(parsed.AST, nil)
	fail(err)
	text, err := os.ReadFile(path)
	fail(err)
	source := llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", text)
	source.Definition = &llb.Definition{}
	wrong := false
	for _, stage := range stages {
		found, err := dockerfile2llb.DockerfileLint(context.Background(), text, dockerfile2llb.ConvertOpt{
			Config:       dockerui.Config{Target: stage.Name},
			MetaResolver: anyImage{},
			SourceMap:    source,
		})
		fail(err)
		for _, warning := range found.Warnings {
			wrong = true
			fmt.Printf("%s: %s: %s\n", stage.Name, warning.RuleName, warning.Detail)
		}
		if found.Error != nil {
			wrong = true
			fmt.Printf("%s: %s\n", stage.Name, found.Error.Message)
		}
		fmt.Printf("target %s\n", stage.Name)
	}
	if wrong {
		os.Exit(1)
	}
}

// anyImage knows nothing of any image.
type anyImage struct{}

func (anyImage) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return ref, "", []byte(`{"architecture":"amd64","os":"linux","config":{}}`), nil
}

var _ llb.ImageMetaResolver = anyImage{}

func compose(path string) {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithWorkingDirectory(filepath.Dir(path)), cli.WithName("weir"))
	fail(err)
	project, err := options.LoadProject(context.Background())
	fail(err)
	for _, service := range project.Services {
		fmt.Printf("service %s\n", service.Name)
	}
}

func fail(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
