//go:build windows

package ociwclayer

import (
	"context"
	"io"

	"github.com/Microsoft/hcsshim/internal/wclayer"
)

// WriteLayer reads a layer's tar into a writer of the caller's.
func WriteLayer(r io.Reader, w wclayer.LayerWriter, root string) error {
	_, err := writeLayerFromTar(context.Background(), r, w, root)
	return err
}
