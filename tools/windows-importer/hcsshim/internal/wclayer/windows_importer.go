//go:build windows

package wclayer

// NewLegacyLayerWriter gives the writer of layers with parents as it is before ImportLayer, which only Windows has.
func NewLegacyLayerWriter(root string, parents []string, dest string) (LayerWriter, error) {
	return newLegacyLayerWriter(root, parents, dest)
}
