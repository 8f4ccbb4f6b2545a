/**
 * The largest singular triples of a sum of outer products, in float64, without ever forming it:
 *
 *   M = L·Rᵀ,   L·P = Q·T  (Householder, column pivoting),   J·(T·Pᵀ·Rᵀ) = Σ·Vᵀ  (one-sided Jacobi),   U·Σ = L·(Rᵀ·V)
 *
 * Q is never needed: T·Pᵀ·Rᵀ has the singular values and right vectors of M. The QR ends where nothing is left of L, so the
 * cost goes by the rank of M, and by its size only linearly. U·Σ is exact however small σ is, and with it every truncation.
 * Signs are fixed: the largest entry of a left vector, the first of several, is positive.
 *
 * CPU time for a 128×64 product, against two QRs and an SVD of ml-matrix 6.15 (Node 20): 2.4 to 4.4 ms of rank 32, 7.5 to 18 of
 * full rank.
 * Drmač and Veselić, "New Fast and Accurate Jacobi SVD Algorithm", 2008.
 */

/** M = Σ_i left_i · right_iᵀ over the rank of M, largest first. */
export interface Triples {
  readonly sigma: readonly number[];
  /** σ_i·u_i */
  readonly left: readonly Float64Array[];
  /** v_i, orthonormal. */
  readonly right: readonly Float64Array[];
}

/** Shorter than this share of the longest, what is left of a column is rounding, and so is a singular value. */
const negligible = 1e-14;
/** Cosine of two rows that pass for orthogonal. */
const orthogonal = 1e-15;
/** Convergence is quadratic; eight are usual. */
const mostSweeps = 60;

/**
 * @param left vectors of one length; read only
 * @param right as many vectors of one length; unit vectors unless given, so that `left` holds the columns of M
 * @param most triples that are wanted
 */
export function svd(left: readonly Float64Array[], right: readonly Float64Array[] | null, most: number): Triples {
  const upper = left.length === 0 ? [] : upperTriangle(left);
  const rows = right === null ? upper : upper.map((weights) => combined(right, weights));
  orthogonalise(rows);
  const lengths = rows.map((row) => Math.sqrt(dot(row, row)));
  const order = [...rows.keys()].sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  const smallest = negligible * (lengths[order[0]!] ?? 0);
  const triples = order.slice(0, most).flatMap((i) => {
    if (!(lengths[i]! > smallest)) return [];
    const v = rows[i]!.map((value) => value / lengths[i]!);
    const u = combined(left, right === null ? v : Float64Array.from(right, (vector) => dot(vector, v)));
    const sign = largestOf(u) < 0 ? -1 : 1;
    return { sigma: lengths[i]!, left: u.map((value) => sign * value), right: v.map((value) => sign * value) };
  });
  return {
    sigma: triples.map(({ sigma }) => sigma),
    left: triples.map((triple) => triple.left),
    right: triples.map((triple) => triple.right),
  };
}

/**
 * Vectors orthonormal to the given ones and to each other, made of unit vectors: the one that is least of what is there
 * already, again and again.
 *
 * @param count at most the vectors' length less those given
 */
export function completed(orthonormal: readonly Float64Array[], length: number, count: number): Float64Array[] {
  const basis = orthonormal.slice();
  for (let added = 0; added < count; added++) {
    const covered = new Float64Array(length);
    for (const vector of basis) for (let i = 0; i < length; i++) covered[i]! += vector[i]! * vector[i]!;
    let at = 0;
    // Rounding does not decide between places that are covered alike.
    for (let i = 1; i < length; i++) if (covered[i]! < covered[at]! - 1e-9) at = i;
    const vector = new Float64Array(length);
    vector[at] = 1;
    // The second time takes away what rounding left the first time.
    for (let pass = 0; pass < 2; pass++) for (const other of basis) addTo(vector, other, -dot(vector, other));
    const norm = Math.sqrt(dot(vector, vector));
    basis.push(vector.map((value) => value / norm));
  }
  return basis.slice(orthonormal.length);
}

/** Rows of T·Pᵀ, as many as the columns have rank. */
function upperTriangle(given: readonly Float64Array[]): Float64Array[] {
  const columns = given.map((column) => column.slice());
  const length = columns[0]!.length;
  const place = [...columns.keys()];
  const rest = Float64Array.from(columns, (column) => dot(column, column));
  const smallest = negligible * negligible * Math.max(...rest);
  const rows: Float64Array[] = [];
  for (let j = 0; j < Math.min(length, columns.length); j++) {
    let longest = j;
    for (let c = j + 1; c < columns.length; c++) if (rest[c]! > rest[longest]!) longest = c;
    if (!(rest[longest]! > smallest)) break;
    swap(columns, j, longest);
    swap(place, j, longest);
    swap(rest, j, longest);
    // Reflection 1 − v·vᵀ ÷ half sends what is left of this column to its first place.
    const v = columns[j]!;
    const diagonal = v[j]! > 0 ? -Math.sqrt(rest[j]!) : Math.sqrt(rest[j]!);
    const half = rest[j]! - diagonal * v[j]!;
    v[j]! -= diagonal;
    const row = new Float64Array(columns.length);
    row[place[j]!] = diagonal;
    for (let c = j + 1; c < columns.length; c++) {
      const column = columns[c]!;
      let share = 0;
      for (let i = j; i < length; i++) share += v[i]! * column[i]!;
      share /= half;
      for (let i = j; i < length; i++) column[i]! -= share * v[i]!;
      row[place[c]!] = column[j]!;
      let square = 0;
      for (let i = j + 1; i < length; i++) square += column[i]! * column[i]!;
      rest[c] = square;
    }
    rows.push(row);
  }
  return rows;
}

/** Turns rows, two at a time, until all are orthogonal. */
function orthogonalise(rows: readonly Float64Array[]): void {
  for (let sweep = 0, turned = true; turned && sweep < mostSweeps; sweep++) {
    turned = false;
    const squares = rows.map((row) => dot(row, row));
    for (let p = 0; p < rows.length - 1; p++) {
      for (let q = p + 1; q < rows.length; q++) {
        const between = dot(rows[p]!, rows[q]!);
        if (Math.abs(between) <= orthogonal * Math.sqrt(squares[p]! * squares[q]!)) continue;
        turned = true;
        const zeta = (squares[q]! - squares[p]!) / (2 * between);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const cosine = 1 / Math.sqrt(1 + tangent * tangent);
        turn(rows[p]!, rows[q]!, cosine, cosine * tangent);
        squares[p]! -= tangent * between;
        squares[q]! += tangent * between;
      }
    }
  }
}

function turn(a: Float64Array, b: Float64Array, cosine: number, sine: number): void {
  for (let i = 0; i < a.length; i++) {
    const x = a[i]!;
    const y = b[i]!;
    a[i] = cosine * x - sine * y;
    b[i] = sine * x + cosine * y;
  }
}

function swap(list: { [at: number]: unknown }, i: number, j: number): void {
  const held = list[i];
  list[i] = list[j];
  list[j] = held;
}

/** Σ_q weights_q · vectors_q */
function combined(vectors: readonly Float64Array[], weights: Float64Array): Float64Array {
  const sum = new Float64Array(vectors[0]!.length);
  for (const [q, vector] of vectors.entries()) if (weights[q] !== 0) addTo(sum, vector, weights[q]!);
  return sum;
}

function addTo(sum: Float64Array, vector: Float64Array, weight: number): void {
  for (let i = 0; i < sum.length; i++) sum[i]! += weight * vector[i]!;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function largestOf(vector: Float64Array): number {
  let largest = 0;
  for (const value of vector) if (Math.abs(value) > Math.abs(largest)) largest = value;
  return largest;
}
