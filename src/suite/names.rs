//! Short names of settings, made of what differs between them.

use std::collections::HashSet;

use super::Cell;
use super::axes::is_unsaid;

/// Axes whose name needs no saying: their values are words.
const BARE: &[&str] =
    &["mask", "pattern", "refresh", "norm", "perturbation", "fisher_mode", "batch_norm", "rho_decay", "live", "base"];
/// Names that are shorter in a setting's name.
const SHORT: &[(&str, &str)] =
    &[("weight_decay", "wd"), ("momentum", "mu"), ("mask_interval", "interval"), ("fisher_samples", "samples")];
/// Axes that no name of an optimizer implies.
const NEVER_IMPLIED: &[&str] = &["pattern", "norm", "perturbation"];
/// Axes that a name says wherever rows differ in them, also of the first.
const ALWAYS_SAID: &[&str] = &["sparsity", "budget", "live"];
/// Optimizers that are not listed one by one.
const MANY: usize = 2;

/// Settings under names, and what the names leave out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Names {
    /// A name for each setting: the optimizer, its sparsity where there are several, and what else differs from the first
    /// setting of that optimizer.
    pub(crate) names: Vec<String>,
    /// What all settings share that read it, without defaults, such as `lr 0.1`.
    pub(crate) shared: Vec<String>,
    /// The axes in which the first settings of the optimizers differ, such as `weight_decay 0.0005 (sgd), 0.001 (sam)`, and those
    /// that one optimizer alone reads, such as `shard 32 (m-sam)`.
    pub(crate) by_optimizer: Vec<String>,
}

/// Lines for people on the settings that a table's rows do not show; none where there are no such settings.
pub(crate) fn lines<'s>(shared: &'s [String], by_optimizer: &'s [String]) -> impl Iterator<Item = String> + 's {
    let lines = [("shared settings", shared), ("by optimizer, unless the row says otherwise", by_optimizer)];
    lines.into_iter().filter(|(_, of)| !of.is_empty()).map(|(what, of)| format!("{what}: {}", of.join("; ")))
}

/// A setting by axis.
struct Axes {
    optimizer: String,
    label: String,
    axes: Vec<(String, String)>,
}

impl Axes {
    fn of(cell: &Cell) -> Self {
        let axes = cell.axes().into_iter().filter(|(axis, _)| !matches!(&**axis, "optimizer" | "seed"));
        Self {
            optimizer: cell.optimizer.name.clone(),
            label: cell.setting_label(),
            axes: axes.map(|(axis, value)| (axis.into_owned(), value.to_string())).collect(),
        }
    }

    fn get(&self, axis: &str) -> Option<&str> {
        self.axes.iter().find(|(name, _)| name == axis).map(|(_, value)| value.as_str())
    }
}

impl Names {
    /// Of settings, whose seeds do not matter.
    pub(crate) fn new<'c>(settings: impl IntoIterator<Item = &'c Cell>) -> Self {
        let settings: Vec<Axes> = settings.into_iter().map(Axes::of).collect();
        let said = always_said(&settings);
        let names: Vec<String> = settings.iter().map(|setting| name(&settings, setting, &said)).collect();
        let is_double = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
        // Where that says too little, everything is said.
        let named = names.iter().zip(&settings).map(|(name, s)| if is_double(name) { &s.label } else { name });
        let (mut shared, mut by_optimizer, mut axes) = (Vec::new(), Vec::new(), Vec::new());
        for (axis, value) in settings.iter().flat_map(|setting| &setting.axes) {
            if axes.contains(&axis) {
                continue;
            }
            axes.push(axis);
            if settings.iter().filter_map(|setting| setting.get(axis)).all(|other| other == value) {
                if is_unsaid(axis, value) || said.contains(&axis.as_str()) {
                    continue;
                }
                let is_general = settings.iter().any(|s| s.optimizer != settings[0].optimizer);
                match readers(&settings, axis).as_slice() {
                    [only] if is_general => by_optimizer.push(format!("{axis} {value} ({only})")),
                    _ => shared.push(format!("{axis} {value}")),
                }
            } else if !ALWAYS_SAID.contains(&axis.as_str()) && !NEVER_IMPLIED.contains(&axis.as_str()) {
                by_optimizer.extend(values_by_optimizer(&settings, axis));
            }
        }
        Self { names: named.cloned().collect(), shared, by_optimizer }
    }
}

fn name(settings: &[Axes], setting: &Axes, said: &[&str]) -> String {
    let mut name = setting.optimizer.clone();
    let Some(first) = first_of(settings, &name) else { return name };
    for (axis, value) in &setting.axes {
        let of_all = || settings.iter().filter_map(|setting| setting.get(axis));
        let differs = match axis.as_str() {
            axis if ALWAYS_SAID.contains(&axis) => said.contains(&axis),
            axis if NEVER_IMPLIED.contains(&axis) => of_all().next() != Some(value),
            axis => first.get(axis) != Some(value),
        };
        if differs {
            name.push(' ');
            name.push_str(&part(axis, value, first.get(axis)));
        }
    }
    name
}

/// The axes of [`ALWAYS_SAID`] that names say: settings differ in them, or others of the same optimizer do not have them.
fn always_said(settings: &[Axes]) -> Vec<&'static str> {
    let is_said = |axis: &&str| {
        let with: Vec<(&Axes, &str)> = settings.iter().filter_map(|s| Some((s, s.get(axis)?))).collect();
        let readers: HashSet<&str> = with.iter().map(|(setting, _)| setting.optimizer.as_str()).collect();
        let lacks = |setting: &Axes| readers.contains(setting.optimizer.as_str()) && setting.get(axis).is_none();
        with.iter().any(|(_, value)| *value != with[0].1) || settings.iter().any(lacks)
    };
    ALWAYS_SAID.iter().copied().filter(is_said).collect()
}

/// The optimizers that read an axis.
fn readers<'s>(settings: &'s [Axes], axis: &str) -> Vec<&'s str> {
    let mut readers: Vec<&str> =
        settings.iter().filter(|s| s.get(axis).is_some()).map(|s| s.optimizer.as_str()).collect();
    readers.sort_unstable();
    readers.dedup();
    readers
}

/// The first setting of an optimizer, with which names compare the others.
fn first_of<'s>(settings: &'s [Axes], optimizer: &str) -> Option<&'s Axes> {
    settings.iter().find(|setting| setting.optimizer == optimizer)
}

/// What a name says of an axis, such as `.9`, `random`, `2x epochs`, `1/4 epochs` or `lr .1`; `first` is the first setting's value.
fn part(axis: &str, value: &str, first: Option<&str>) -> String {
    let number = |text: &str| text.parse::<f64>().ok();
    let bare = value.strip_prefix("0.").map_or(value.into(), |digits| format!(".{digits}"));
    if axis == "sparsity" || BARE.contains(&axis) {
        return bare;
    }
    if let ("epochs", Some(epochs), Some(first)) = (axis, number(value), first.and_then(number)) {
        let times = epochs / first;
        if times > 1.0 && times.fract() == 0.0 {
            return format!("{times}x epochs");
        }
        if times < 1.0 && times.recip().fract() == 0.0 {
            return format!("1/{} epochs", times.recip());
        }
    }
    let axis = SHORT.iter().find(|(long, _)| *long == axis).map_or(axis, |(_, short)| short);
    format!("{axis} {bare}")
}

/// The values of an axis in the first settings of the optimizers, where there are several.
fn values_by_optimizer(settings: &[Axes], axis: &str) -> Option<String> {
    let mut values: Vec<(&str, Vec<&str>)> = Vec::new();
    for (i, setting) in settings.iter().enumerate() {
        let optimizer = setting.optimizer.as_str();
        let is_first = settings[..i].iter().all(|before| before.optimizer != optimizer);
        let Some(value) = setting.get(axis).filter(|_| is_first) else { continue };
        match values.iter_mut().find(|(other, _)| *other == value) {
            Some((_, of)) => of.push(optimizer),
            None => values.push((value, vec![optimizer])),
        }
    }
    // The most common value last, of the others where there are many.
    values.sort_by_key(|(_, of)| of.len());
    let texts = values.iter().enumerate().map(|(i, (value, of))| {
        let rest = i + 1 == values.len() && of.len() > MANY;
        format!("{value} ({})", if rest { "the others".into() } else { of.join(", ") })
    });
    (values.len() > 1).then(|| format!("{axis} {}", texts.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Suite, embedded_names};

    fn names(suite: &str, profile: &str) -> Names {
        let suite = Suite::read(suite).expect("a suite");
        let data = suite.data(profile).expect("a data set");
        let mut cells = suite.plan(profile, &data.name).expect("a plan").cells;
        let seed = cells[0].seed;
        cells.retain(|cell| cell.seed == seed);
        Names::new(&cells)
    }

    #[test]
    fn names_say_what_differs() {
        let cifar10 = names("cifar10", "full");
        insta::assert_snapshot!(cifar10.names.join("\n"), @"
        sgd
        sgd wd .001
        sgd 2x epochs
        sam
        ssam-f .5
        ssam-f .9
        ssam-d .5
        ssam-d .9
        ssam-d .9 random
        ssam .9 tensor masked
        ");
        assert_eq!(cifar10.shared, ["lr 0.1", "rho 0.05"]);
        assert_eq!(
            cifar10.by_optimizer.first().map(String::as_str),
            Some("weight_decay 0.0005 (sgd), 0.001 (the others)")
        );
    }

    /// A sparsity is said of every setting that has one, where some setting of the same optimizer has none.
    #[test]
    fn a_sparsity_is_said_somewhere() {
        let suite = "name = \"one\"\ndescription = \"for tests\"\n[base]\ndata = { name = \"mnist-5k\", train = 64, test = 50 }\n\
                     model = { name = \"mlp\" }\nschedule = { epochs = 2, batch_size = 32, lr = 0.1 }\nseeds = [1]\n\
                     [profiles.quick]\n[[base.grid]]\noptimizer = [\"ssam-f\", \"ssam-d\"]\nrho = 0.05\nsparsity = 0.9\n\
                     [[base.grid]]\noptimizer = \"ssam-f\"\nrho = 0.05\npattern = \"tensor\"\nbudget = 1.1\n";
        let cells = Suite::parse("one".into(), suite).and_then(|s| s.plan("quick", "mnist-5k")).expect("a plan").cells;
        let names = Names::new(&cells);
        assert_eq!(names.names, ["ssam-f .9", "ssam-d .9", "ssam-f tensor budget 1.1 masked"]);
    }

    /// Whatever a suite varies, no two of its settings have the same name, and a name is short.
    #[test]
    fn every_setting_of_every_suite_has_a_short_name_of_its_own() {
        for suite in embedded_names() {
            for profile in Suite::read(&suite).expect("a suite").file.profiles.keys() {
                let names = names(&suite, profile).names;
                for (i, name) in names.iter().enumerate() {
                    assert!(!names[..i].contains(name), "{suite} {profile}: {name} twice");
                    assert!(name.chars().count() <= 45, "{suite} {profile}: {name}");
                }
            }
        }
    }
}
