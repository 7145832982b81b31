//! Invented text: answers that reflect the question, and ids.

use fastrand::Rng;

const OPENINGS: [&str; 6] = [
    "In short,",
    "Looking at it closely,",
    "As far as I can tell,",
    "From what you describe,",
    "Put simply,",
    "Taking the details together,",
];

const VERDICTS: [&str; 6] = [
    "the main point is clear and the rest follows from it",
    "there are two sides to it, and the first one weighs more",
    "the usual approach works well here",
    "a small change settles most of it",
    "the answer depends on the context, though the common case is simple",
    "it holds up, with one exception worth noting",
];

const CLOSINGS: [&str; 5] = [
    "",
    " I can go into more detail if that helps.",
    " Checking one example first is a good way to confirm this.",
    " Keep the original numbers at hand when you compare.",
    " The remaining cases are rare and can be treated one by one.",
];

/// How much of the question an answer repeats.
const TOPIC_WORDS: usize = 8;

/// A short sentence or two about the question.
pub(crate) fn answer(random: &mut Rng, question: &str) -> String {
    let words: Vec<&str> = question.split_whitespace().take(TOPIC_WORDS).collect();
    let topic = words.join(" ");
    let topic = topic.trim_end_matches(['.', '?', '!', ',', ':', ';']);
    let [opening, verdict, closing] =
        [&OPENINGS[..], &VERDICTS, &CLOSINGS].map(|list| list[random.usize(..list.len())]);
    if topic.is_empty() {
        format!("{opening} {verdict}.{closing}")
    } else {
        format!("{opening} on \u{201C}{topic}\u{201D}: {verdict}.{closing}")
    }
}

/// Letters and digits that no other id of this machine will have. They do not follow the seed:
/// two fakes of one seed must not hand out the same id.
pub(crate) fn unique(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}
