//! What is different about stages for Windows on a Linux builder.

use std::collections::BTreeSet;

use dockerfile::{Kind, Run};
use report::Diagnostic;

use crate::compiler::Compiler;
use crate::windows_moves::{Instead, Move, moves};

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

/// How to do without a RUN: for each command that is recognised what exactly, else in general.
fn way_out(run: &Run, base: &str) -> String {
    let release = base.rsplit(':').next().and_then(windows::release_of_tag);
    let release = release.map_or("ltsc2022", |release| release.id.as_str());
    let bodies = run.command.heredocs.iter().map(dockerfile::Heredoc::content);
    let words: Vec<String> =
        if run.command.heredocs.is_empty() { run.command.args.clone() } else { bodies.collect() };
    let moves = moves(&words, run.command.shell, release);
    let mut lines = Vec::new();
    for Move { of, instead } in &moves {
        match instead {
            Instead::Here(line) => lines.push(format!("`{of}`:\n    {line}")),
            Instead::Base(line) => lines.push(format!("`{of}`: a base that has it\n    {line}")),
            Instead::Rules(what) => lines.push(what.clone()),
            Instead::Windows(why) => lines.push(format!("`{of}`: {why}")),
            Instead::Prepared(stage, to) => {
                let stage = stage.join("\n    ");
                lines.push(format!(
                    "`{of}`: in a Linux stage, whose result is copied\n    {stage}\n    FROM {base}\n    COPY --from=prep /out/ {to}"
                ));
            }
            Instead::Unknown => {}
        }
    }
    if lines.is_empty() || moves.iter().any(|one| one.instead == Instead::Unknown) {
        lines.push(format!(
            "do the work in a Linux stage and copy the result:\n    FROM --platform=$BUILDPLATFORM alpine AS prep\n    RUN … -o \
             /out\n    FROM {base}\n    COPY --from=prep /out/ C:/app/\nregistry changes, Windows features, services and \
             MSI installs need a real Windows host"
        ));
    }
    lines.join("\n")
}
