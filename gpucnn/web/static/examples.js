/** Digits that the page writes itself: pen paths through points, made smooth. */

import { STROKE } from "./drawing.js";

// The points of each stroke, on paper of 100 by 100.
const PATHS = [
  [[[55, 17], [38, 24], [29, 45], [31, 68], [44, 82], [60, 78], [71, 58], [69, 34], [55, 17]]],
  [[[46, 25], [53, 18], [52, 50], [51, 82]]],
  [[[31, 33], [40, 19], [57, 18], [66, 31], [59, 49], [43, 66], [31, 80], [50, 78], [71, 80]]],
  [[[33, 23], [49, 17], [63, 25], [61, 39], [46, 47], [62, 53], [67, 68], [54, 81], [33, 77]]],
  [[[41, 17], [36, 35], [31, 53], [50, 54], [70, 52]], [[61, 33], [59, 56], [57, 84]]],
  [[[66, 19], [41, 20], [37, 44], [53, 43], [66, 53], [65, 71], [51, 82], [32, 77]]],
  [[[60, 17], [43, 32], [33, 56], [38, 76], [53, 82], [66, 71], [62, 55], [47, 52], [35, 64]]],
  [[[29, 22], [50, 21], [70, 20], [60, 42], [50, 63], [45, 83]]],
  [
    [[63, 25], [49, 17], [37, 27], [45, 42], [60, 54], [64, 70], [50, 82], [36, 71], [43, 55],
      [59, 42], [63, 25]],
  ],
  [[[65, 27], [50, 19], [36, 31], [41, 47], [56, 46], [66, 28], [64, 50], [58, 83]]],
];

// Turn in degrees, width and height of the first writings of a digit; then they repeat.
const HANDS = [
  [0, 1, 1],
  [6, 0.9, 1],
  [-6, 1.1, 0.95],
  [10, 0.95, 1.05],
];

/**
 * Return the strokes of a digit.
 *
 * @param {number} digit from 0 to 9
 * @param {number} hand a different number writes it a little differently
 * @returns {import("./drawing.js").Point[][]}
 */
export function strokesOf(digit, hand) {
  const [turn, width, height] = HANDS[hand % HANDS.length];
  const [cos, sin] = [Math.cos((turn * Math.PI) / 180), Math.sin((turn * Math.PI) / 180)];
  const place = ([x, y]) => {
    const [dx, dy] = [(x - 50) * width * 2.8, (y - 50) * height * 2.8];
    return { x: 140 + dx * cos - dy * sin, y: 140 + dx * sin + dy * cos, width: STROKE };
  };
  return PATHS[digit].map((points) => smooth(points).map(place));
}

/** Return points of a Catmull-Rom curve through the given ones. */
function smooth(points) {
  const steps = 8;
  const result = [];
  for (let index = 0; index < points.length - 1; index += 1) {
    const [a, b, c, d] = [-1, 0, 1, 2].map(
      (shift) => points[Math.min(points.length - 1, Math.max(0, index + shift))],
    );
    for (let step = 0; step < steps; step += 1) {
      const t = step / steps;
      result.push([0, 1].map((axis) => curve(a[axis], b[axis], c[axis], d[axis], t)));
    }
  }
  return [...result, points[points.length - 1]];
}

function curve(a, b, c, d, t) {
  const cubic = -a + 3 * b - 3 * c + d;
  return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + cubic * t ** 3);
}
