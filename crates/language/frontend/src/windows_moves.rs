//! What to write in place of a command that would have to run on Windows.
//!
//! The commands of a RUN are told apart as `cmd` and PowerShell do, well enough to name the instruction that does the
//! same on any builder; nothing is executed, and what is not recognised is said to be so.

/// A command, and what does the same without Windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    /// The command as written.
    pub(crate) of: String,
    /// What to write in its place.
    pub(crate) instead: Instead,
}

/// What does the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    /// An instruction for the Windows stage.
    Here(String),
    /// Lines of a Linux stage whose `/out` is copied to a directory of the image.
    Prepared(Vec<String>, String),
    /// Another base image.
    Base(String),
    /// Lines of the file beside the Dockerfile that gives Windows files their access lists and attributes.
    Rules(String),
    /// Nothing does it on Linux; why.
    Windows(&'static str),
    /// Not recognised.
    Unknown,
}

/// Commands of one RUN that are looked at; more are not listed either.
const LOOKED_AT: usize = 16;

/// The commands of a RUN's text or words, each with what to write instead. `release` is the base's, such as `ltsc2022`.
pub(crate) fn moves(words: &[String], shell: bool, release: &str) -> Vec<Move> {
    let commands = if shell {
        words.iter().flat_map(|text| text.lines()).flat_map(split).collect()
    } else {
        vec![words.to_vec()]
    };
    let commands = commands.into_iter().flat_map(unwrap).filter(|command| !command.is_empty());
    commands
        .take(LOOKED_AT)
        .map(|command| Move { of: join(&command), instead: instead(&command, release) })
        .collect()
}

/// Words of the commands in a line: `&&`, `||`, `&`, `;` and `|` stand between commands, quotes hold words together.
fn split(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut depth = 0_usize;
    let flush = |word: &mut String, commands: &mut Vec<Vec<String>>| {
        if !word.is_empty()
            && let Some(command) = commands.last_mut()
        {
            command.push(std::mem::take(word));
        }
    };
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(_)) => word.push(c),
            ('(' | '{', None) => {
                depth += 1;
                word.push(c);
            }
            (')' | '}', None) => {
                depth = depth.saturating_sub(1);
                word.push(c);
            }
            (c, None) if c.is_whitespace() => flush(&mut word, &mut commands),
            ('&' | ';' | '|', None) if depth == 0 => {
                flush(&mut word, &mut commands);
                commands.push(Vec::new());
            }
            (c, None) => word.push(c),
        }
    }
    flush(&mut word, &mut commands);
    commands
}

/// The commands that a shell was told to run: what follows `powershell -Command` or `cmd /S /C`.
fn unwrap(command: Vec<String>) -> Vec<Vec<String>> {
    let program = program(&command);
    if !matches!(program.as_str(), "powershell" | "pwsh" | "cmd") {
        return vec![command];
    }
    let is_flag = |word: &str| {
        let lower = word.to_ascii_lowercase();
        matches!(
            lower.as_str(),
            "-command"
                | "-c"
                | "/c"
                | "/s"
                | "-noprofile"
                | "-nologo"
                | "-noninteractive"
                | "-nop"
                | "-executionpolicy"
                | "-ep"
                | "bypass"
                | "unrestricted"
                | "remotesigned"
        )
    };
    let mut rest = command.into_iter().skip(1).skip_while(|word| is_flag(word)).peekable();
    let Some(first) = rest.next() else { return Vec::new() };
    match rest.peek() {
        // One string is a line of its own.
        None => split(&first),
        Some(_) => vec![std::iter::once(first).chain(rest).collect()],
    }
}

/// The command's name in lower case, without directory and `.exe`.
fn program(command: &[String]) -> String {
    let first = command.first().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    let name = first.rsplit(['\\', '/']).next().unwrap_or_default();
    name.trim_start_matches(['(', '@']).trim_end_matches(".exe").to_owned()
}

/// Words as one line, quoted where they have to be.
fn join(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        if word.contains(char::is_whitespace) { format!("\"{word}\"") } else { word.clone() }
    });
    let line = quoted.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line,
    }
}

/// The value of a PowerShell parameter, by its name or a beginning of it, or the nth word that is none.
fn parameter(command: &[String], names: &[&str], position: usize) -> Option<String> {
    let lower: Vec<String> = command.iter().map(|word| word.to_ascii_lowercase()).collect();
    let named = lower.iter().position(|word| names.contains(&word.as_str()));
    if let Some(at) = named {
        return command.get(at + 1).cloned();
    }
    let mut positional = Vec::new();
    let mut words = command.iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let is_switch = word.eq_ignore_ascii_case("-force")
            || word.eq_ignore_ascii_case("-usebasicparsing")
            || word.eq_ignore_ascii_case("-recurse");
        if word.starts_with('-') && !is_switch {
            words.next();
        } else if !is_switch && !word.starts_with('/') {
            positional.push(word);
        }
    }
    positional.get(position).map(|word| (*word).clone())
}

/// A path as COPY wants it.
fn slashed(path: &str) -> String {
    path.replace('\\', "/")
}

/// The directory that a path is for: itself, with a slash at its end.
fn directory(path: &str) -> String {
    format!("{}/", slashed(path).trim_end_matches('/'))
}

fn instead(command: &[String], release: &str) -> Instead {
    let name = program(command);
    match name.as_str() {
        "mkdir" | "md" => directories(command, 0),
        "new-item" | "ni" if is_directory(command) => directories(command, 0),
        "setx" => variable(command),
        "set" => assignment(&command.get(1..).unwrap_or_default().join(" ")),
        "expand-archive" => {
            let archive = parameter(command, &["-path", "-literalpath"], 0);
            let to =
                parameter(command, &["-destinationpath"], 1).unwrap_or_else(|| "C:/app".to_owned());
            unpacked(archive.as_deref().unwrap_or("archive.zip"), &to)
        }
        "tar" => {
            let archive =
                command.iter().skip(1).find(|word| word.contains('.') && !word.starts_with('-'));
            let to =
                command.iter().position(|word| word == "-C").and_then(|at| command.get(at + 1));
            unpacked(
                archive.map_or("archive.tar", String::as_str),
                to.map_or("C:/app", String::as_str),
            )
        }
        "invoke-webrequest" | "iwr" | "start-bitstransfer" | "invoke-restmethod" => download(
            parameter(command, &["-uri", "-source"], 0),
            parameter(command, &["-outfile", "-destination", "-o"], 1),
        ),
        "curl" | "wget" => {
            let address = command.iter().find(|word| word.contains("://")).cloned();
            let to = command
                .iter()
                .position(|word| matches!(word.as_str(), "-o" | "-O" | "--output"))
                .and_then(|at| command.get(at + 1))
                .cloned();
            download(address, to)
        }
        "add-windowsfeature"
        | "install-windowsfeature"
        | "enable-windowsoptionalfeature"
        | "dism" => feature(command, release),
        "icacls" | "takeown" | "attrib" => Instead::Rules(format!(
            "`{name}` is a rule in `<Dockerfile>.windows.toml`: attributes and an SDDL string for the files that a pattern names"
        )),
        "copy" | "xcopy" | "robocopy" | "move" | "copy-item" | "cp" | "move-item" | "mv" => {
            Instead::Here(format!(
                "COPY --from=<stage> {} {}",
                parameter(command, &["-path"], 0)
                    .map_or_else(|| "<source>".to_owned(), |path| slashed(&path)),
                parameter(command, &["-destination"], 1)
                    .map_or_else(|| "C:/app/".to_owned(), |path| slashed(&path)),
            ))
        }
        "del" | "erase" | "rd" | "rmdir" | "remove-item" | "rm" => Instead::Here(
            "nothing: leave the files out where they are copied from (what the base has stays)"
                .to_owned(),
        ),
        "go" => linux("RUN GOOS=windows GOARCH=$TARGETARCH go build -o /out/ .", "golang"),
        "dotnet" => linux(
            "RUN dotnet publish -r win-x64 -c Release -o /out",
            "mcr.microsoft.com/dotnet/sdk",
        ),
        "npm" | "yarn" => linux("RUN npm ci && npm run build && cp -r dist /out", "node"),
        "choco" | "chocolatey" | "scoop" | "winget" => Instead::Windows(
            "packages of Windows are installed by Windows; copy the program's files instead, or use a base that has it",
        ),
        "msiexec" | "start-process" => Instead::Windows(
            "installers run on Windows only; copy the installed files, or use a base that has them",
        ),
        "reg" | "regsvr32" | "sc" | "new-service" | "set-service" | "net" | "netsh"
        | "new-itemproperty" | "set-itemproperty" => Instead::Windows(
            "it changes the registry or services of Windows; do it when the container starts, or on a Windows host",
        ),
        _ if name.starts_with("[environment]::setenvironmentvariable")
            || name.starts_with("[system.environment]::setenvironmentvariable") =>
        {
            environment(&command.join(" "))
        }
        _ if name.starts_with("$env:") => {
            assignment(&command.join(" ").trim_start_matches("$env:").replace(" = ", "="))
        }
        _ => Instead::Unknown,
    }
}

fn is_directory(command: &[String]) -> bool {
    command.iter().any(|word| word.eq_ignore_ascii_case("directory"))
}

fn directories(command: &[String], position: usize) -> Instead {
    match parameter(command, &["-path", "-name"], position) {
        Some(path) => Instead::Here(format!("WORKDIR {}", slashed(&path))),
        None => Instead::Here("WORKDIR C:/app".to_owned()),
    }
}

/// `setx [/M] NAME VALUE`.
fn variable(command: &[String]) -> Instead {
    let words: Vec<&String> =
        command.iter().skip(1).filter(|word| !word.starts_with('/')).collect();
    match words.as_slice() {
        [name, value, ..] => Instead::Here(set(name, value)),
        _ => Instead::Here("ENV NAME=\"value\"".to_owned()),
    }
}

/// `NAME=VALUE`.
fn assignment(text: &str) -> Instead {
    match text.split_once('=') {
        Some((name, value)) => Instead::Here(set(name.trim(), value.trim())),
        None => Instead::Unknown,
    }
}

/// `[Environment]::SetEnvironmentVariable('NAME', 'VALUE', 'Machine')`, quotes gone.
fn environment(text: &str) -> Instead {
    let inner = text.split_once('(').map_or("", |(_, inner)| inner.trim_end_matches(')'));
    let mut values = inner.split(',').map(str::trim);
    match (values.next(), values.next()) {
        (Some(name), Some(value)) if !name.is_empty() => Instead::Here(set(name, value)),
        _ => Instead::Unknown,
    }
}

fn set(name: &str, value: &str) -> String {
    let mut value = value.to_owned();
    for variable in ["%PATH%", "%Path%", "%path%", "$env:PATH", "$env:Path", "$Env:PATH"] {
        value = value.replace(variable, "$PATH");
    }
    let name = if name.eq_ignore_ascii_case("path") { "PATH" } else { name };
    format!("ENV {name}=\"{value}\"")
}

fn download(address: Option<String>, to: Option<String>) -> Instead {
    let address = address.unwrap_or_else(|| "<address>".to_owned());
    let to = to.map_or_else(|| "C:/app/".to_owned(), |path| slashed(&path));
    Instead::Here(format!("ADD --checksum=sha256:<digest> {address} {to}"))
}

fn unpacked(archive: &str, to: &str) -> Instead {
    let name = slashed(archive);
    let file = name.rsplit('/').next().unwrap_or("archive.zip");
    let is_tar = [".tar", ".tgz", ".gz", ".bz2", ".xz"]
        .iter()
        .any(|end| file.to_ascii_lowercase().ends_with(end));
    if is_tar {
        return Instead::Here(format!("ADD {file} {}", directory(to)));
    }
    let lines = vec![
        "FROM --platform=$BUILDPLATFORM alpine AS prep".to_owned(),
        format!("COPY {file} /"),
        format!("RUN unzip /{file} -d /out"),
    ];
    Instead::Prepared(lines, directory(to))
}

fn linux(run: &str, base: &str) -> Instead {
    let lines = vec![
        format!("FROM --platform=$BUILDPLATFORM {base} AS prep"),
        "ARG TARGETARCH".to_owned(),
        "COPY . .".to_owned(),
        run.to_owned(),
    ];
    Instead::Prepared(lines, "C:/app/".to_owned())
}

fn feature(command: &[String], release: &str) -> Instead {
    let text = command.join(" ").to_ascii_lowercase();
    let tag = |name: &str, plain: String| {
        let tag = windows::base_of(name).and_then(|base| base.tags.get(release)).cloned();
        Instead::Base(format!("FROM {}/{name}:{}", windows::REGISTRY, tag.unwrap_or(plain)))
    };
    if text.contains("asp-net") || text.contains("aspnet") {
        tag("dotnet/framework/aspnet", "4.8".to_owned())
    } else if text.contains("web-") || text.contains("iis") {
        tag("windows/servercore/iis", format!("windowsservercore-{release}"))
    } else if text.contains("net-framework") || text.contains("netfx") {
        tag("dotnet/framework/runtime", "4.8".to_owned())
    } else {
        Instead::Windows(
            "features of Windows are added by Windows; use a base that has it (`crossdock windows bases --needs help`)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<Instead> {
        moves(&[text.to_owned()], true, "ltsc2022").into_iter().map(|one| one.instead).collect()
    }

    fn here(text: &str) -> Vec<Instead> {
        vec![Instead::Here(text.to_owned())]
    }

    #[test]
    fn frequent_commands_have_their_instruction() {
        assert_eq!(of("mkdir C:\\app\\data"), here("WORKDIR C:/app/data"));
        assert_eq!(of("New-Item -ItemType Directory -Path C:\\x -Force"), here("WORKDIR C:/x"));
        assert_eq!(of("setx /M PATH \"%PATH%;C:\\app\""), here("ENV PATH=\"$PATH;C:\\app\""));
        assert_eq!(of("setx NAME value"), here("ENV NAME=\"value\""));
        assert_eq!(
            of("[Environment]::SetEnvironmentVariable('A', 'b c', 'Machine')"),
            here("ENV A=\"b c\"")
        );
        assert_eq!(
            of(
                "powershell -NoProfile -Command Invoke-WebRequest -UseBasicParsing -Uri https://a.example/x.zip -OutFile C:\\x.zip"
            ),
            here("ADD --checksum=sha256:<digest> https://a.example/x.zip C:/x.zip")
        );
        assert_eq!(
            of("curl.exe -fsSL -o app.exe https://a.example/app.exe"),
            here("ADD --checksum=sha256:<digest> https://a.example/app.exe app.exe")
        );
        assert_eq!(of("tar -xzf app.tgz -C C:\\app"), here("ADD app.tgz C:/app/"));
        assert_eq!(
            of("powershell Expand-Archive -Path C:\\app.zip -DestinationPath C:\\app"),
            [Instead::Prepared(
                vec![
                    "FROM --platform=$BUILDPLATFORM alpine AS prep".to_owned(),
                    "COPY app.zip /".to_owned(),
                    "RUN unzip /app.zip -d /out".to_owned(),
                ],
                "C:/app/".to_owned()
            )]
        );
        assert_eq!(
            of("powershell -Command Add-WindowsFeature Web-Server"),
            [Instead::Base(
                "FROM mcr.microsoft.com/windows/servercore/iis:windowsservercore-ltsc2022"
                    .to_owned()
            )]
        );
        assert!(matches!(of("choco install git -y").as_slice(), [Instead::Windows(_)]));
        assert!(matches!(of("icacls C:\\app /grant Users:F").as_slice(), [Instead::Rules(_)]));
        assert_eq!(of("C:\\tool\\own.exe --go"), [Instead::Unknown]);
    }

    #[test]
    fn commands_of_one_line_are_told_apart() {
        let found =
            of("mkdir C:\\a && setx B \"x && y\" & powershell -Command \"mkdir C:\\c; rd C:\\d\"");
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[1], Instead::Here("ENV B=\"x && y\"".to_owned()));
        let words = ["powershell", "-Command", "mkdir C:\\a; mkdir C:\\b"].map(str::to_owned);
        assert_eq!(moves(&words, false, "").len(), 2);
        assert!(moves(&[";".repeat(100_000)], true, "").is_empty());
        assert_eq!(moves(&["a;".repeat(100_000)], true, "").len(), LOOKED_AT);
    }
}
