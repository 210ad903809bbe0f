/** Numbers and sentences for people. */

/**
 * Return a number with few digits; the minus sign is a real one.
 *
 * @param {number | null} value
 * @returns {string}
 */
export function short(value) {
  if (value === null) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  if (size < 0.005) return "0.00";
  const text = size < 1e5 ? value.toFixed(digits) : value.toExponential(1);
  return text.replaceAll("-", "−");
}

/**
 * Return a number as `short` does, with a sign also if it is positive.
 *
 * @param {number} value
 * @returns {string}
 */
export function signed(value) {
  return value > 0 ? `+${short(value)}` : short(value);
}

/**
 * Return a probability in percent.
 *
 * @param {number} share from 0 to 1
 * @returns {string}
 */
export function percent(share) {
  const value = 100 * share;
  return value > 99.9 && value < 100 ? "> 99.9 %" : `${value.toFixed(1)} %`;
}

/**
 * Return a shape as "6 × 28 × 28".
 *
 * @param {number[]} shape
 * @returns {string}
 */
export function sides(shape) {
  return shape.join(" × ");
}

/**
 * Return an integer with thousands separated.
 *
 * @param {number} value
 * @returns {string}
 */
export function count(value) {
  return value.toLocaleString("en-GB");
}

/**
 * Return "1 parameter" or "2 parameters".
 *
 * @param {number} value
 * @param {string} noun
 * @returns {string}
 */
export function plural(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

const EXPLANATIONS = {
  Conv2d:
    "Each map belongs to one filter, which slides over the layer before: blue where its pattern " +
    "lies, orange where the opposite lies.",
  ConvTranspose2d: "Each number is spread over a window of larger maps, weighted by a filter.",
  ReLU: "Negative numbers become 0: the orange disappears.",
  LeakyReLU: "Negative numbers become small: the orange fades.",
  ELU: "Negative numbers are squeezed between −1 and 0: the orange fades.",
  GELU: "Negative numbers become almost 0: the orange disappears.",
  SiLU: "Negative numbers become almost 0: the orange disappears.",
  Softplus: "Negative numbers become almost 0, and every number positive.",
  Tanh: "Numbers are squeezed between −1 and 1.",
  Sigmoid: "Numbers are squeezed between 0 and 1.",
  Softmax: "Scores become probabilities: positive, with the sum 1.",
  MaxPool2d: "Each window keeps only its maximum: smaller maps, the same patterns.",
  AvgPool2d: "Each window becomes its mean: smaller, smoother maps.",
  AdaptiveAvgPool2d: "Each map is divided into windows, which become their means.",
  AdaptiveMaxPool2d: "Each map is divided into windows, which keep only their maxima.",
  Upsample: "Each number is copied: larger maps, the same patterns.",
  SumPool2d: "Each window becomes its sum: smaller maps.",
  LPPool2d: "Each window becomes its norm: smaller maps.",
  Dropout: "Changes numbers only during training.",
  Dropout2d: "Changes numbers only during training.",
  Residual: "The sum of two paths from the same maps: the longer one learns what to change.",
  Concat: "The maps of several paths from the same maps, one after the other.",
  Flatten: "All maps in one row of numbers.",
  Rows: "The rows of the image, from top to bottom: the steps of a sequence.",
  RNN: "A row of numbers that each step computes from its input and from its previous values.",
  GRU: "A row of numbers, of which gates keep a part at each step and renew the rest.",
  Linear: "Each number is a weighted sum of all numbers before it.",
};

/**
 * Return a sentence on what layers of a type do.
 *
 * @param {string} type
 * @param {boolean} isLast whether it is the last layer
 * @param {boolean} isRegression whether the network predicts numbers
 * @returns {string}
 */
export function explanation(type, isLast, isRegression) {
  if (isLast && type === "Linear") {
    return isRegression
      ? "One number for each target: how many standard deviations it lies above the mean."
      : "One score for each class. Softmax turns the scores into probabilities.";
  }
  return EXPLANATIONS[type] ?? "";
}
