"use strict";
// The law of X <- X + A X H from its eigenvalues, as linsim.predict has it, for attention with a real spectrum.
// lambdas: numbers, lambdas[0] = 1 the constant mode. mus: [re, im] pairs, conjugates written out.
// Two moduli are called a tie within 1e-9 of the largest.

const TIE = 1e-9;

function spectrum(n, lowest) {
  // as the systems of the figure phase_diagram: 1, the lowest, and n - 2 evenly between 0.05 and 0.2
  const out = [1, lowest];
  for (let k = 0; k < n - 2; k++) out.push(n === 3 ? 0.05 : 0.05 + (0.15 * k) / (n - 3));
  return out;
}

function weights(re, im, second) {
  return im === 0 ? [[re, 0], [second, 0]] : [[re, im], [re, -im], [second, 0]];
}

function moduli(lambdas, mus) {
  return lambdas.map((lam) => mus.map(([re, im]) => Math.hypot(1 + lam * re, lam * im)));
}

function largest(rows) {
  return Math.max(0, ...rows.map((row) => Math.max(0, ...row)));
}

function termRank(dominant) {
  // largest number of dominant modes no two of which share a row or a column: augmenting paths
  const columnOf = new Map();
  const place = (row, seen) => {
    for (let j = 0; j < dominant[row].length; j++) {
      if (!dominant[row][j] || seen.has(j)) continue;
      seen.add(j);
      if (!columnOf.has(j) || place(columnOf.get(j), seen)) {
        columnOf.set(j, row);
        return true;
      }
    }
    return false;
  };
  return dominant.reduce((rank, _, row) => rank + (place(row, new Set()) ? 1 : 0), 0);
}

function minor(rho) {
  // the largest product of two moduli that share neither row nor column
  let best = 0;
  const d = rho[0].length;
  for (let j = 0; j < d; j++) {
    for (let k = 0; k < d; k++) {
      if (j === k) continue;
      // the largest of column j and the largest of column k in another row
      let first = -1, a = -1, second = -1;
      rho.forEach((row, i) => {
        if (row[j] > a) { second = a; a = row[j]; first = i; } else if (row[j] > second) second = row[j];
      });
      let here = 0, beside = 0;
      rho.forEach((row, i) => { if (i === first) here = row[k]; else beside = Math.max(beside, row[k]); });
      best = Math.max(best, a * beside, Math.max(second, 0) * here);
    }
  }
  return best;
}

function law(lambdas, mus) {
  const rho = moduli(lambdas, mus);
  const top = largest(rho);
  const constant = largest(rho.slice(0, 1)), others = largest(rho.slice(1));
  if (top === 0) {
    const none = { token_diversity: 1, cosine_gap: 1, rank_gap: 1 };
    return { regime: "balanced", margin: 0, limit_rank: 0, rates: none };
  }
  const tied = (x) => x >= top * (1 - TIE);
  const regime = tied(constant) && tied(others) ? "balanced" : tied(constant) ? "smoothing" : "sharpening";
  const rank = termRank(rho.map((row) => row.map(tied)));
  const closes = (q) => (q > 1 - TIE ? 1 : q);
  const qRank = rank === 1 ? closes(minor(rho) / (top * top)) : 1;
  return {
    regime,
    margin: Math.log(constant) - Math.log(others),
    limit_rank: rank,
    rates: {
      token_diversity: regime === "smoothing" ? closes(others / constant) ** 2 : 1,
      cosine_gap: rank === 1 ? qRank ** 2 : 1,
      rank_gap: qRank,
    },
  };
}

function logHfcLfc(lambdas, mus, layers) {
  // exact for symmetric A, normal H, and tokens that hold every mode equally: sums of |rho|^(2 l)
  const logs = moduli(lambdas, mus).map((row) => row.map(Math.log));
  const sum = (terms) => {
    const high = Math.max(...terms);
    return high === -Infinity ? high : high + Math.log(terms.reduce((s, x) => s + Math.exp(x - high), 0));
  };
  return layers.map((l) => {
    const at = (rows) => sum(rows.flat().map((x) => (l === 0 ? 0 : 2 * l * x)));
    return (at(logs.slice(1)) - at(logs.slice(0, 1))) / 2;
  });
}

globalThis.linsimLaw = { spectrum, weights, law, logHfcLfc };
