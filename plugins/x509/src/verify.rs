use crate::{
    Certificate, Chain, Roots,
    checks::{Asked, Checks},
    path::{Path, paths},
};
use mainstem_plugin_sdk::{Failure, Host, Signed, Verdict};

/// What is to be checked for an item before it has a verdict.
struct Open<'a> {
    /// By the leaf's key over the batch id.
    own: Asked<'a>,
    /// Of each path, the signatures of its certificates, and whether all were in force.
    paths: Vec<(Vec<Asked<'a>>, bool)>,
}

/// The verdicts: `malformed` for what cannot be read; `invalid` if the origin is not the hash of the leaf's key; `untrusted` if no path
/// ends in a root; `invalid` if the signature does not hold; `expired` if some certificate of each path was not in force at the
/// item's timestamp.
///
/// # Errors
/// What the node answers.
pub fn verify(host: &Host<'_>, roots: &Roots, items: &[Signed<'_>]) -> Result<Vec<Verdict>, Failure> {
    let chains: Vec<_> = items.iter().map(|item| Chain::read(item.signature)).collect();
    let keys: Vec<_> = chains.iter().flatten().map(|chain| &chain.certificates[0].spki[..]).collect();
    let mut origins = host.sha256(&keys)?.into_iter();
    let mut checks = Checks::default();
    let judged: Vec<_> = items
        .iter()
        .zip(&chains)
        .map(|(item, chain)| {
            let chain = chain.as_ref().ok_or(Verdict::Malformed)?;
            if origins.next().is_none_or(|origin| origin != item.origin) {
                return Err(Verdict::Invalid);
            }
            open(&mut checks, roots, chain, item).ok_or(Verdict::Untrusted)
        })
        .collect();
    checks.run(host)?;
    Ok(judged
        .into_iter()
        .map(|judged| judged.map_or_else(|verdict| verdict, |it| close(&checks, &it)))
        .collect())
}

fn open<'a>(
    checks: &mut Checks<'a>,
    roots: &'a Roots,
    chain: &'a Chain<'a>,
    item: &Signed<'a>,
) -> Option<Open<'a>> {
    let key = chain.certificates[0].key.as_ref()?.of(chain.scheme)?;
    let own = checks.ask(chain.scheme, [key, item.batch_id, chain.signature])?;
    let paths = paths(&chain.certificates, roots);
    let paths = paths.iter().filter_map(|path| {
        let in_force = path.iter().all(|of| of.is_in_force(item.timestamp));
        Some((links(checks, path)?, in_force))
    });
    Some(Open { own, paths: paths.collect() })
}

/// The signatures of all certificates but the root, each by the next one's key.
fn links<'a>(checks: &mut Checks<'a>, path: &Path<'a>) -> Option<Vec<Asked<'a>>> {
    let link = |pair: &[&'a Certificate]| {
        let [of, by] = pair else { return None };
        let scheme = of.scheme?;
        checks.ask(scheme, [by.key.as_ref()?.of(scheme)?, &of.tbs, &of.signature])
    };
    path.windows(2).map(link).collect()
}

fn close(checks: &Checks<'_>, open: &Open<'_>) -> Verdict {
    let mut signed =
        open.paths.iter().filter(|(links, _)| links.iter().all(|link| checks.holds(link))).peekable();
    if signed.peek().is_none() {
        Verdict::Untrusted
    } else if !checks.holds(&open.own) {
        Verdict::Invalid
    } else if signed.any(|(_, in_force)| *in_force) {
        Verdict::Valid
    } else {
        Verdict::Expired
    }
}
