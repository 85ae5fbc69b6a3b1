//! What is different about stages for Windows on a Linux builder.

use std::collections::BTreeSet;

use dockerfile::{Kind, Run};
use report::Diagnostic;

use crate::compiler::Compiler;

/// The PATH that a Windows base image has in its registry, by its repository. Its configuration says nothing.
pub(crate) fn default_path(repository: &str) -> &'static str {
    if repository.contains("windows-host-process-containers-base-image") {
        r"C:\Windows\system32;C:\Windows;C:\WINDOWS\System32\WindowsPowerShell\v1.0\;C:\Windows\System32\wbem;"
    } else if repository.contains("nanoserver") {
        r"C:\Windows\system32;C:\Windows;"
    } else {
        r"C:\Windows\system32;C:\Windows;C:\Windows\System32\Wbem;C:\Windows\System32\WindowsPowerShell\v1.0\;C:\Windows\System32\OpenSSH\"
    }
}

impl Compiler<'_> {
    /// A RUN in a Windows stage cannot be done here: that is told before anything is.
    pub(crate) fn refuse_windows_runs(&mut self, reachable: &BTreeSet<usize>) {
        let mut found = Vec::new();
        for index in reachable.iter().copied() {
            let root = self.root(index);
            let stage = &self.stages[index];
            let windows =
                self.stages[root].platform.as_ref().is_some_and(oci::Platform::is_windows);
            if !windows || stage.done {
                continue;
            }
            for command in &stage.commands {
                let Kind::Run(run) = &command.instruction.kind else { continue };
                let base = &self.stages[root].base_name;
                let platform = self.platform(root);
                let message = format!(
                    "RUN cannot execute in a Windows stage on a Linux builder: stage {:?} is FROM \
                     {base} ({platform})",
                    stage.title()
                );
                let refused =
                    Diagnostic::error(message, command.instruction.span).hint(way_out(run, base));
                found.push(Diagnostic { rule: Some("WindowsRun"), ..refused });
            }
        }
        self.diagnostics.extend(found);
    }

    /// The stage whose base is no stage, beneath this one.
    fn root(&self, index: usize) -> usize {
        let mut at = index;
        while let crate::stage::Base::Stage(base) = self.stages[at].base {
            at = base;
        }
        at
    }
}

/// How to do without a RUN: for frequent cases what exactly, else in general.
fn way_out(run: &Run, base: &str) -> String {
    let command = run.command.args.join(" ");
    let lower = command.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let exact = if has(&["install-windowsfeature", "add-windowsfeature", "web-server"]) {
        "pick a base that already has the feature (for IIS: windows/servercore/iis)"
    } else if has(&["choco ", "msiexec", "setup.exe"]) {
        "installers need a real Windows host; copy the installed files instead"
    } else if has(&["setx"]) {
        "set variables with ENV"
    } else if has(&["expand-archive", "tar -x", "tar x", "unzip"]) {
        "unpack in a Linux stage, or let ADD unpack a tar archive"
    } else if has(&["invoke-webrequest", "curl ", "wget ", "iwr ", "downloadfile"]) {
        "fetch it with ADD and its address"
    } else if has(&["mkdir", "md ", "new-item"]) {
        "make directories with WORKDIR, or copy them"
    } else if has(&["del ", "rmdir", "rd ", "remove-item"]) {
        "leave files out where they are copied from: what the base has stays"
    } else {
        "do this work in a Linux stage and copy the result"
    };
    format!(
        "{exact}:\n    FROM --platform=$BUILDPLATFORM alpine AS prep\n    RUN … -o /out\n    FROM \
         {base}\n    COPY --from=prep /out/ C:/app/\nregistry changes, Windows features, services and \
         MSI installs need a real Windows host"
    )
}
