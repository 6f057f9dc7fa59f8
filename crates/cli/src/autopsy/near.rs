//! Words that a mistyped one may have meant.

use strsim::damerau_levenshtein;

/// Most words that are offered.
const MOST: usize = 8;

/// The known words that are like this one, the nearest first: all but for the case of letters, with a letter wrong in four, or
/// one within the other.
pub fn near(word: &str, known: impl IntoIterator<Item = String>) -> Vec<String> {
    let word = word.to_lowercase();
    let most = word.chars().count().div_ceil(4);
    let mut found: Vec<(usize, String)> = known
        .into_iter()
        .filter_map(|one| {
            let lower = one.to_lowercase();
            let within =
                word.len().min(lower.len()) > 2 && (lower.contains(&word) || word.contains(&lower));
            // A name from a core may have any length, and a long one is not near a short one.
            let distance = if lower.len().abs_diff(word.len()) <= 2 * most {
                damerau_levenshtein(&word, &lower)
            } else {
                usize::MAX
            };
            (within || distance <= most).then_some((distance, one))
        })
        .collect();
    found.sort();
    found.dedup();
    found.truncate(MOST);
    found.into_iter().map(|(_, one)| one).collect()
}

/// The same, to go behind what says that there is no such thing: `; there is Session`.
pub fn hint(word: &str, known: impl IntoIterator<Item = String>) -> String {
    let near = near(word, known);
    match &near[..] {
        [] => String::new(),
        [one] => format!("; there is {one}"),
        all => format!("; there are {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_what_is_near() {
        let known = || ["jsprint", "jsstack", "heap", "findjsobjects"].map(str::to_owned);
        assert_eq!(near("jsprnt", known()), ["jsprint"]);
        assert_eq!(near("JSSTAKC", known()), ["jsstack"]);
        assert_eq!(near("objects", known()), ["findjsobjects"]);
        assert_eq!(near("frobnicate", known()), [""; 0]);
        assert_eq!(near("", known()), [""; 0]);
        assert_eq!(near("i", known()), [""; 0]);
        assert_eq!(hint("Sesion", ["Session".to_owned()]), "; there is Session");
    }
}
