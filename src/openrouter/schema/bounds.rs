//! How much work a schema can make: an answer is checked in one go, and recursion can try the same place in a number
//! of ways that doubles with each level.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

/// How deep an answer may be nested.
const MAX_DEPTH: usize = 100;
/// How many times a place of an answer, and all places together, may be looked at.
const MAX_WORK: u64 = 20_000_000;
/// The answers that a schema must be fit for.
const LEAST_DEPTH: usize = 4;
const LEAST_WORK: u64 = 100_000;
/// How deep a schema may be nested, all that it refers to one inside the other.
const MAX_NESTED: usize = 1_000;
/// How many schemas may stand one in the other for the same place.
const MAX_CHAIN: usize = 32;
const MAX_SCHEMAS: usize = 10_000;
const MAX_PATTERNS: usize = 100;

/// Schemas for the same place: one, many, many by name.
const ONE_HERE: [&str; 4] = ["not", "if", "then", "else"];
const MANY_HERE: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const NAMED_HERE: [&str; 2] = ["dependentSchemas", "dependencies"];
/// Schemas for places below: any of them.
const BELOW: [&str; 8] = [
    "items",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "contentSchema",
];

/// One schema, as far as work is concerned.
struct Node {
    here: Vec<usize>,
    /// By the name of the property, or the place in an array.
    named: BTreeMap<String, Vec<usize>>,
    /// For every place below.
    any: Vec<usize>,
    /// Looks at its alternatives a second time.
    twice: bool,
}

/// What is known of a schema's work.
pub struct Bounds {
    nodes: Vec<Node>,
}

impl Bounds {
    /// Of a schema. The error says why it cannot be used.
    pub fn of(root: &Value) -> Result<Bounds, String> {
        if count_patterns(root) > MAX_PATTERNS {
            return Err(format!("It has more than {MAX_PATTERNS} patterns."));
        }
        let mut reader =
            Reader { root, nodes: Vec::new(), known: HashMap::new(), nested: depth(root) };
        reader.node(root)?;
        let bounds = Bounds { nodes: reader.nodes };
        let (mut known, mut open) = (vec![None; bounds.nodes.len()], HashSet::new());
        for node in 0..bounds.nodes.len() {
            bounds.chain(node, &mut known, &mut open)?;
        }
        if bounds.ways(LEAST_DEPTH) > LEAST_WORK {
            return Err("It has too many ways to look at one place.".to_owned());
        }
        Ok(bounds)
    }

    /// Refuses an answer that would take too long to compare.
    pub fn check(&self, answer: &Value, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("the answer is nested {depth} deep"));
        }
        if self.ways(depth).saturating_mul(count(answer)) > MAX_WORK {
            return Err("the schema has too many ways to look at this answer".to_owned());
        }
        Ok(())
    }

    /// At most how often a schema looks at one place, so deep below.
    fn ways(&self, depth: usize) -> u64 {
        // For each schema, what it looks at itself, and what it leads to below.
        let here = self.here();
        let mut below = here.clone();
        for _ in 0..depth {
            let next: Vec<u64> = (0..self.nodes.len())
                .map(|node| {
                    let sum = |of: &[usize]| {
                        of.iter().fold(0_u64, |sum, it| sum.saturating_add(below[*it]))
                    };
                    let mut named: BTreeMap<&str, u64> = BTreeMap::new();
                    let mut any = 0_u64;
                    self.each_here(node, &mut |node, times| {
                        any = any.saturating_add(sum(&node.any).saturating_mul(times));
                        for (name, of) in &node.named {
                            let ways = named.entry(name).or_default();
                            *ways = ways.saturating_add(sum(of).saturating_mul(times));
                        }
                    });
                    let most = named.values().copied().max().unwrap_or_default();
                    here[node].max(most.saturating_add(any))
                })
                .collect();
            if next == below || next[0] > MAX_WORK {
                return next[0];
            }
            below = next;
        }
        below[0]
    }

    fn here(&self) -> Vec<u64> {
        let mut here = Vec::new();
        for node in 0..self.nodes.len() {
            let mut count = 0_u64;
            self.each_here(node, &mut |_, times| count = count.saturating_add(times));
            here.push(count);
        }
        here
    }

    /// Every schema that looks at the same place, and how often.
    fn each_here<'n>(&'n self, start: usize, visit: &mut impl FnMut(&'n Node, u64)) {
        // No schema leads to itself here, so that an order exists in which all that lead to one come first.
        let mut order = Vec::new();
        self.order(start, &mut HashSet::new(), &mut order);
        let mut times: HashMap<usize, u64> = HashMap::from([(start, 1)]);
        for node in order.into_iter().rev() {
            let own = times[&node];
            let handed_on = if self.nodes[node].twice { own.saturating_mul(2) } else { own };
            for next in &self.nodes[node].here {
                let of = times.entry(*next).or_default();
                *of = of.saturating_add(handed_on);
            }
            visit(&self.nodes[node], own);
        }
    }

    fn order(&self, node: usize, seen: &mut HashSet<usize>, order: &mut Vec<usize>) {
        if seen.insert(node) {
            for next in &self.nodes[node].here {
                self.order(*next, seen, order);
            }
            order.push(node);
        }
    }

    /// How many schemas stand one in the other for the same place; refuses one that stands in itself.
    fn chain(
        &self,
        node: usize,
        known: &mut Vec<Option<usize>>,
        open: &mut HashSet<usize>,
    ) -> Result<usize, String> {
        if let Some(chain) = known[node] {
            return Ok(chain);
        }
        if !open.insert(node) {
            return Err("A $ref leads to itself, and to no place below.".to_owned());
        }
        let too_long =
            format!("More than {MAX_CHAIN} schemas stand one in the other for one place.");
        if open.len() > MAX_CHAIN {
            return Err(too_long);
        }
        let mut longest = 0;
        for next in &self.nodes[node].here {
            longest = longest.max(self.chain(*next, known, open)?);
        }
        open.remove(&node);
        if longest >= MAX_CHAIN {
            return Err(too_long);
        }
        known[node] = Some(longest + 1);
        Ok(longest + 1)
    }
}

/// Makes nodes out of a schema and what it refers to.
struct Reader<'a> {
    root: &'a Value,
    nodes: Vec<Node>,
    known: HashMap<*const Value, usize>,
    nested: usize,
}

impl<'a> Reader<'a> {
    fn node(&mut self, schema: &'a Value) -> Result<usize, String> {
        if let Some(node) = self.known.get(&std::ptr::from_ref(schema)) {
            return Ok(*node);
        }
        let number = self.nodes.len();
        if number == MAX_SCHEMAS {
            return Err(format!("It has more than {MAX_SCHEMAS} schemas in it."));
        }
        self.known.insert(schema, number);
        self.nodes.push(Node {
            here: Vec::new(),
            named: BTreeMap::new(),
            any: Vec::new(),
            twice: false,
        });
        let Value::Object(fields) = schema else { return Ok(number) };
        let is_root = std::ptr::eq(schema, self.root);
        for refused in ["$dynamicRef", "$recursiveRef", "$id", "$anchor", "$dynamicAnchor"] {
            if fields.contains_key(refused) && !(is_root && refused == "$id") {
                return Err(format!("The keyword {refused} cannot be used here."));
            }
        }
        let here = self.here(fields)?;
        let mut any = Vec::new();
        for keyword in BELOW {
            match fields.get(keyword) {
                Some(Value::Array(items)) => any.extend(self.many(items)?),
                Some(schema) => any.push(self.node(schema)?),
                None => {}
            }
        }
        if let Some(Value::Object(patterns)) = fields.get("patternProperties") {
            any.extend(self.many(patterns.values())?);
        }
        let mut named: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        if let Some(Value::Object(properties)) = fields.get("properties") {
            for (name, schema) in properties {
                let node = self.node(schema)?;
                named.entry(name.clone()).or_default().push(node);
            }
        }
        if let Some(Value::Array(items)) = fields.get("prefixItems") {
            for (place, schema) in items.iter().enumerate() {
                let node = self.node(schema)?;
                named.entry(format!("{place}")).or_default().push(node);
            }
        }
        let twice = fields.keys().any(|keyword| keyword.starts_with("unevaluated"));
        self.nodes[number] = Node { here, named, any, twice };
        Ok(number)
    }

    /// The schemas for the same place.
    fn here(&mut self, fields: &'a Map<String, Value>) -> Result<Vec<usize>, String> {
        let mut here = Vec::new();
        if let Some(reference) = fields.get("$ref") {
            let pointer = reference.as_str().and_then(|text| text.strip_prefix('#'));
            let Some(pointer) = pointer.filter(|p| p.is_empty() || p.starts_with('/')) else {
                return Err(format!(
                    "The $ref {reference} does not begin with \"#/\": nothing is fetched."
                ));
            };
            let Some(target) = self.root.pointer(pointer) else {
                return Err(format!("The $ref {reference} leads nowhere."));
            };
            if !self.known.contains_key(&std::ptr::from_ref(target)) {
                self.nested += depth(target);
                if self.nested > MAX_NESTED {
                    return Err("What it refers to is nested too deep.".to_owned());
                }
            }
            here.push(self.node(target)?);
        }
        for keyword in ONE_HERE {
            if let Some(schema) = fields.get(keyword) {
                here.push(self.node(schema)?);
            }
        }
        for keyword in MANY_HERE {
            if let Some(Value::Array(schemas)) = fields.get(keyword) {
                here.extend(self.many(schemas)?);
            }
        }
        for keyword in NAMED_HERE {
            if let Some(Value::Object(schemas)) = fields.get(keyword) {
                here.extend(self.many(schemas.values())?);
            }
        }
        Ok(here)
    }

    fn many(&mut self, schemas: impl IntoIterator<Item = &'a Value>) -> Result<Vec<usize>, String> {
        schemas.into_iter().map(|schema| self.node(schema)).collect()
    }
}

/// How deep it is nested.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
        _ => 1,
    }
}

/// How many values it holds.
fn count(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<u64>(),
        Value::Object(fields) => 1 + fields.values().map(count).sum::<u64>(),
        _ => 1,
    }
}

fn count_patterns(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(count_patterns).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let own = match (name.as_str(), value) {
                    ("pattern", Value::String(_)) => 1,
                    ("patternProperties", Value::Object(patterns)) => patterns.len(),
                    _ => 0,
                };
                own + count_patterns(value)
            })
            .sum(),
        _ => 0,
    }
}
