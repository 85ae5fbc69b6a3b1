//! Archives that ADD takes apart.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use build_api::BuildError;
use fstree::{Changeset, Content, TreeError};
use store::{Store, TemporaryDirectory};

use crate::error::{chain, failed};

/// Where the contents of archives are kept for as long as somebody reads them.
pub(crate) struct Archives {
    store: Store,
    spools: Mutex<Vec<TemporaryDirectory>>,
}

impl Archives {
    pub(crate) fn new(store: &Store) -> Self {
        Self { store: store.clone(), spools: Mutex::default() }
    }
}

impl fstree::fileop::Unpack for Archives {
    fn unpack(&self, file: &Content) -> Result<Option<Changeset>, TreeError> {
        let invalid = |error: &dyn std::error::Error| TreeError::Invalid(chain(error));
        let spool = self.store.temporary_directory().map_err(|error| invalid(&error))?;
        let reader = file.open().map_err(TreeError::io("open", "archive"))?;
        let changes =
            match layer::read_archive(reader, spool.path(), &layer::tar::Limits::default()) {
                Ok(changes) => changes,
                Err(layer::ArchiveError::NotAnArchive) => return Ok(None),
                Err(error) => return Err(invalid(&error)),
            };
        self.spools.lock().unwrap_or_else(PoisonError::into_inner).push(spool);
        Ok(Some(changes))
    }
}

/// Takes a context apart that came as an archive. The directory is the context for as long as it lives.
pub(crate) fn context(store: &Store, archive: &Path) -> Result<TemporaryDirectory, BuildError> {
    let what = format!("cannot unpack the build context {}", archive.display());
    let directory = store
        .temporary_directory()
        .map_err(failed("cannot make a directory for the build context"))?;
    let file = fs_err::File::open(archive).map_err(failed(what.as_str()))?;
    let spool = store
        .temporary_directory()
        .map_err(failed("cannot make a directory for the build context"))?;
    let changes = layer::read_archive(file, spool.path(), &layer::tar::Limits::default())
        .map_err(failed(what.as_str()))?;
    // Files of a context are root's wherever they are copied; on disk they are this process's.
    let options =
        fstree::WriteOptions { owners: fstree::Owners::Recorded, form: fstree::TreeForm::Plain };
    fstree::write_tree(&changes, directory.path(), options).map_err(failed(what))?;
    Ok(directory)
}
