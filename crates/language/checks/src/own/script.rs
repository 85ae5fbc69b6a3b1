//! What a RUN runs, as far as it can be told without a shell.

use dockerfile::CommandLine;

/// The text of a command with its here-documents.
pub(crate) fn of(command: &CommandLine) -> String {
    let mut text = command.args.join(" ");
    for document in &command.heredocs {
        text.push('\n');
        text.push_str(&document.body);
    }
    text
}

/// The simple commands of a script, each as its words without quotes. Substitutions are commands of their own.
pub(crate) fn commands(script: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word = String::new();
    let mut quote = None;
    let mut comment = false;
    let end_word = |word: &mut String, commands: &mut Vec<Vec<String>>| {
        if !word.is_empty()
            && let Some(last) = commands.last_mut()
        {
            last.push(std::mem::take(word));
        }
    };
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (_, '\n') if comment => {
                comment = false;
                commands.push(Vec::new());
            }
            _ if comment => {}
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, '#') if word.is_empty() => comment = true,
            (_, '(' | ')' | '`') | (None, ';' | '\n' | '|' | '&' | '{' | '}')
                if !(matches!(c, '{' | '}') && (word.ends_with('$') || word.contains("${"))) =>
            {
                end_word(&mut word, &mut commands);
                commands.push(Vec::new());
            }
            (None, c) if c.is_whitespace() => end_word(&mut word, &mut commands),
            (None | Some('"'), '\\') => {
                // A line that goes on; anything else it protects.
                if let Some(next) = chars.next().filter(|next| *next != '\n') {
                    word.push(next);
                }
            }
            (_, c) => word.push(c),
        }
    }
    end_word(&mut word, &mut commands);
    commands.retain(|words| !words.is_empty());
    for words in &mut commands {
        // What only sets variables or a user for what follows.
        let first = words.iter().position(|word| !leads(word)).unwrap_or(0);
        words.drain(..first);
    }
    commands
}

fn leads(word: &str) -> bool {
    let assignment = word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    assignment || ["sudo", "env", "exec", "time", "then", "do", "else", "!"].contains(&word)
}

/// Whether a command is `program … action …`, with options before the action.
pub(crate) fn does(command: &[String], programs: &[&str], actions: &[&str]) -> bool {
    let Some((program, rest)) = command.split_first() else { return false };
    let name = program.rsplit('/').next().unwrap_or_default();
    programs.contains(&name) && rest.iter().any(|word| actions.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(script: &str) -> Vec<String> {
        commands(script).iter().map(|words| words.join(" ")).collect()
    }

    #[test]
    fn a_script_is_cut_into_commands() {
        assert_eq!(
            listed(
                "set -e; A=1 apt-get -y \\\n update && (cd /x || true) # no; more\necho 'a; b' \"$(date +%s)\""
            ),
            ["set -e", "apt-get -y update", "cd /x", "true", "echo a; b $", "date +%s"]
        );
        assert_eq!(listed("echo ${A:-b} | sudo tee ${C}"), ["echo ${A:-b}", "tee ${C}"]);
    }

    #[test]
    fn strange_scripts_do_no_harm() {
        for script in ["", "'", "\"$(", "#", "((((", "\\", "a=b", "\u{0}é'"] {
            assert!(commands(script).iter().all(|words| words.len() <= script.len()));
        }
    }
}
