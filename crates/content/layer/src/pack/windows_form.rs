//! The Windows form (windows layers as Microsoft's importer takes them).

use std::io::Write;

use fstree::Changeset;

use super::{LayerWriter, PackError, PackOptions};

pub(super) fn emit<W: Write>(
    _changeset: &Changeset,
    _options: &PackOptions,
    _out: &mut LayerWriter<W>,
) -> Result<(), PackError> {
    Ok(())
}
