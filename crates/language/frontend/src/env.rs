use std::sync::Arc;

use dockerfile::Variables;

/// Variables in the order in which they were last set, as LLB lists them. Copies are cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Env(Arc<Vec<(String, String)>>);

/// Variables of one stage; the kernel takes far fewer.
const MAX_VARIABLES: usize = 4_000;
/// Bytes of all variables of one stage; the kernel takes two megabytes with the arguments.
const MAX_BYTES: usize = 2 << 20;

impl Env {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let list = Arc::make_mut(&mut self.0);
        list.retain(|(known, _)| known != name);
        list.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        Arc::make_mut(&mut self.0).retain(|(known, _)| known != name);
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// As `NAME=value`.
    pub(crate) fn to_list(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// Bytes of all names and values.
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len() + 2).sum()
    }

    /// Whether no process could be started with it.
    pub(crate) fn too_large(&self) -> bool {
        self.0.len() > MAX_VARIABLES || self.bytes() > MAX_BYTES
    }
}

impl Variables for Env {
    fn get(&self, name: &str) -> Option<String> {
        self.value(name).map(str::to_owned)
    }
}
