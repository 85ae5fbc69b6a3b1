//! Brings the history of a configuration into line with its layers, as BuildKit's image writer does.

use jiff::Timestamp;
use oci::History;

/// RFC 3339 in UTC with whole seconds.
pub(crate) fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

/// Entries for layers without one; no layer for entries too many; a time for every entry.
///
/// `made` is the time of entries that have none of their own although they made a layer.
pub(crate) fn normalize(history: &[History], layers: usize, made: Option<i64>) -> Vec<History> {
    let mut history = history.to_vec();
    let mut used = 0;
    for entry in &mut history {
        if !entry.empty_layer {
            entry.empty_layer = used >= layers;
            used += usize::from(used < layers);
        }
    }
    let made = made.map(time);
    for _ in used..layers {
        let comment = "buildkit.exporter.image.v0".to_owned();
        history.push(History { created: made.clone(), comment, ..History::default() });
    }
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer && entry.created.is_none()) {
        entry.created.clone_from(&made);
    }

    // What an entry without time gets: the time of the first layer made after the base, else of the last one before it.
    let mut created: Option<String> = None;
    let mut missing = false;
    for entry in &history {
        match &entry.created {
            Some(time) => {
                created = Some(time.clone());
                if missing {
                    break;
                }
            }
            None => missing = true,
        }
    }
    missing = false;
    for entry in &mut history {
        match &entry.created {
            Some(time) if missing => created = Some(time.clone()),
            Some(_) => {}
            None => {
                missing = true;
                entry.created.clone_from(&created);
            }
        }
    }
    history
}

/// Lowers the times of entries that are not the base's own to `epoch`.
pub(crate) fn clamp(history: &mut [History], base: &[History], epoch: i64) {
    let own = history.iter().zip(base).take_while(|(entry, base)| entry == base).count();
    for entry in history.iter_mut().skip(own) {
        let later =
            entry.created.as_deref().is_none_or(|created| match created.parse::<Timestamp>() {
                Ok(created) => {
                    created.as_second() > epoch
                        || (created.as_second() == epoch && created.subsec_nanosecond() > 0)
                }
                Err(_) => true,
            });
        if later {
            entry.created = Some(time(epoch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(created_by: &str, created: Option<&str>, empty_layer: bool) -> History {
        History {
            created_by: created_by.into(),
            created: created.map(str::to_owned),
            empty_layer,
            ..History::default()
        }
    }

    #[test]
    fn times_are_written_as_go_does() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_700_000_000), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn an_entry_without_time_takes_that_of_its_neighbour() {
        let history = [
            entry("base", Some("2020-01-01T00:00:00Z"), false),
            entry("ENV", None, true),
            entry("RUN", None, false),
            entry("CMD", None, true),
        ];
        let done = normalize(&history, 2, Some(1_700_000_000));
        let times: Vec<_> = done.iter().map(|entry| entry.created.as_deref().unwrap()).collect();
        assert_eq!(
            times,
            [
                "2020-01-01T00:00:00Z",
                "2023-11-14T22:13:20Z",
                "2023-11-14T22:13:20Z",
                "2023-11-14T22:13:20Z"
            ]
        );
    }

    #[test]
    fn layers_and_entries_are_made_to_match() {
        let more_layers = normalize(&[entry("COPY", None, false)], 3, Some(0));
        assert_eq!(more_layers.iter().filter(|entry| !entry.empty_layer).count(), 3);
        assert_eq!(more_layers[2].comment, "buildkit.exporter.image.v0");
        let fewer_layers = normalize(
            &[entry("a", None, false), entry("b", None, false), entry("c", None, true)],
            1,
            Some(0),
        );
        assert_eq!(
            fewer_layers.iter().map(|entry| entry.empty_layer).collect::<Vec<_>>(),
            [false, true, true]
        );
    }

    #[test]
    fn only_what_differs_from_the_base_gets_an_earlier_time() {
        let base = [entry("base", Some("2030-01-01T00:00:00Z"), false)];
        let mut history = [
            base[0].clone(),
            entry("RUN", Some("2030-01-01T00:00:00.5Z"), false),
            entry("x", Some("2001-01-01T00:00:00Z"), true),
        ];
        clamp(&mut history, &base, 1_700_000_000);
        let times: Vec<_> = history.iter().map(|entry| entry.created.as_deref().unwrap()).collect();
        assert_eq!(times, ["2030-01-01T00:00:00Z", "2023-11-14T22:13:20Z", "2001-01-01T00:00:00Z"]);
    }
}
