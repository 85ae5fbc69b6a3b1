//go:build windows

// windows-importer says of each layer (a plain tar) whether hcsshim takes it: everything that ociwclayer and the layer
// writer do before they call Windows' own ImportLayer. One line per layer: name, SHA-256 of the tar, verdict, reason, with
// tabs between.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/Microsoft/go-winio"
	"github.com/Microsoft/hcsshim/internal/wclayer"
	"github.com/Microsoft/hcsshim/pkg/ociwclayer"
)

func main() {
	if err := winio.EnableProcessPrivileges([]string{winio.SeBackupPrivilege, winio.SeRestorePrivilege}); err != nil {
		fmt.Fprintln(os.Stderr, "privileges:", err)
		os.Exit(1)
	}
	for _, layer := range os.Args[1:] {
		name := strings.TrimSuffix(filepath.Base(strings.ReplaceAll(layer, "\\", "/")), ".tar")
		work, err := os.MkdirTemp("", "importer")
		if err == nil {
			err = prepare(work)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "work directory:", err)
			os.Exit(1)
		}
		bytes, err := os.ReadFile(layer)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		name = fmt.Sprintf("%s\t%x", name, sha256.Sum256(bytes))
		if err := take(layer, work); err != nil {
			// Random names of the work directory would make every run's record another.
			text := strings.ReplaceAll(err.Error(), filepath.Base(work), "WORK")
			fmt.Printf("%s\trefused\t%s\n", name, strings.Join(strings.Fields(text), " "))
		} else {
			fmt.Printf("%s\taccepted\t\n", name)
		}
		// The work directory stays, it goes with the prefix: Go's RemoveAll never ends on a name such as `name.`.
	}
}

// prepare makes the layer below: one file that links may lead to, and a utility VM.
func prepare(work string) error {
	for _, directory := range []string{"layer", "import", `base\Files\Base`, `base\UtilityVM\Files`} {
		if err := os.MkdirAll(filepath.Join(work, directory), 0); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(work, `base\Files\Base\tool.exe`), []byte("x"), 0o666)
}

func take(layer, work string) (err error) {
	// Hostile input may make the code panic; that is no acceptance.
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v", panicked)
		}
	}()
	file, err := os.Open(layer)
	if err != nil {
		return err
	}
	defer file.Close()
	dest := filepath.Join(work, "layer")
	writer, err := wclayer.NewLegacyLayerWriter(filepath.Join(work, "import"), []string{filepath.Join(work, "base")}, dest)
	if err != nil {
		return err
	}
	err = ociwclayer.WriteLayer(file, writer, dest)
	if closed := writer.Close(); err == nil {
		err = closed
	}
	if roots, ok := writer.(interface{ CloseRoots() }); ok {
		roots.CloseRoots()
	}
	return err
}
