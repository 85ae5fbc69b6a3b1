//! What a check of a Dockerfile needs, without opening anything.

use std::path::PathBuf;

use build_api::{BuildError, BuildRequest, Context, DockerfileSource};
use frontend::{CompileOptions, ImageResolver};
use oci::Platform;
use report::Silent;
use sources::{Images, PullPolicy};

use crate::Engine;
use crate::compile::compile_options;
use crate::context::Contexts;
use crate::prepare::layouts;
use crate::reporter::Reporter;
use crate::resolver::{Resolver, Unanswered};

/// A Dockerfile to be checked.
pub struct Checkable {
    /// What would be compiled, for each platform.
    pub builds: Vec<CompileOptions>,
    /// The file it was read from; `None` for standard input.
    pub path: Option<PathBuf>,
}

impl Checkable {
    /// Reads the Dockerfile and the ignore files of a request.
    pub fn read(request: &BuildRequest) -> Result<Self, BuildError> {
        let mut contexts = Contexts::of_texts(request)?;
        let path = match (&request.dockerfile, &request.context) {
            (DockerfileSource::Path(path), _) => Some(path.clone()),
            (DockerfileSource::Default, Context::Directory(directory)) => {
                Some(directory.join(&contexts.dockerfile.name))
            }
            _ => None,
        };
        if let Some(path) = &path {
            let shown = path.strip_prefix(".").unwrap_or(path);
            contexts.dockerfile.name = shown.display().to_string();
        }
        let implied = request.platforms.is_empty();
        let mut platforms =
            if implied { vec![Platform::host()] } else { request.platforms.clone() };
        platforms.dedup();
        let several = platforms.len() > 1;
        let builds = platforms
            .iter()
            .map(|platform| compile_options(request, &contexts, platform, implied, several))
            .collect();
        Ok(Self { builds, path })
    }
}

impl Engine {
    /// Gives `act` who knows the base images of a request: the store, named layouts, registries.
    pub fn with_images<T>(
        &self,
        request: &BuildRequest,
        act: impl FnOnce(&dyn ImageResolver) -> T,
    ) -> T {
        let policy = if request.pull { PullPolicy::Always } else { PullPolicy::Missing };
        let images = Images::new(self.store.clone(), self.remote.clone(), policy);
        let remotes = self.remotes(request, Reporter::new(&Silent));
        act(&Resolver::new(&images, layouts(request), &remotes, Unanswered::Fail))
    }
}
