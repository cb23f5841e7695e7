//! A small MLP with an exactly known Hessian, for tests.

use candle_core::{Device, Tensor};
use nalgebra::{DMatrix, DVector};

use super::landscape::{BatchProblem, Problem};
use crate::data::Input;
use crate::data::loader::Batch;
use crate::model::{Model, ModelSpec, Task, build};
use crate::nn::{Objective, ParamLayout, Scalar};
use crate::random::{Stream, stream};
use crate::sharpness::noise;

const SHAPE: [usize; 3] = [1, 2, 3];
const CLASSES: usize = 4;
const SAMPLES: usize = 12;
const WIDTHS: [usize; 4] = [6, 9, 8, CLASSES];

/// An MLP of 179 parameters and a batch for it.
pub(super) struct SmallMlp {
    model: Box<dyn Model>,
    batch: Batch,
    objective: Objective,
}

impl SmallMlp {
    pub(super) fn new(objective: Objective) -> Self {
        let json = serde_json::json!({"name": "mlp", "hidden": [WIDTHS[1], WIDTHS[2]]});
        let spec: ModelSpec = serde_json::from_value(json).expect("a specification");
        let model = build(&spec, Task { input: Input::Image(SHAPE), classes: CLASSES }).expect("a model");
        let pixels = noise(SAMPLES * 6, &mut stream(1, Stream::Synthetic("pixels")));
        let input = Tensor::from_slice(pixels.as_slice(), (SAMPLES, 1, 2, 3), &Device::Cpu).expect("images");
        let labels = (0..SAMPLES).map(|i| (i * 7 % CLASSES) as u32).collect();
        Self { model, batch: Batch { input, labels, dropout: None }, objective }
    }

    pub(super) fn layout(&self) -> &ParamLayout {
        self.model.layout()
    }

    pub(super) fn weights<T: Scalar>(&self) -> Vec<T> {
        self.layout().init(5).iter().map(|w| T::from_f64(f64::from(*w))).collect()
    }

    pub(super) fn loss(&self) -> BatchProblem<'_> {
        let problem = Problem { objective: self.objective, ..self.model.as_ref().into() };
        BatchProblem { problem, batch: &self.batch }
    }
}

/// A parameter as a matrix with `rows` rows.
fn matrix(flat: &[f64], layout: &ParamLayout, name: &str, rows: usize) -> DMatrix<f64> {
    let spec = layout.specs().iter().find(|spec| spec.name == name).expect("a parameter");
    DMatrix::from_row_slice(rows, spec.len() / rows, &flat[spec.range()])
}

/// Exact product of the Hessian with `v`, by the R-operator (Pearlmutter 1994): every value of the
/// forward and backward pass carries its derivative along v.
pub(super) fn exact(mlp: &SmallMlp, weights: &[f64], v: &[f64]) -> Vec<f64> {
    let layout = mlp.layout();
    let pixels: Vec<f64> = mlp.batch.input.flatten_all().and_then(|x| x.to_vec1()).expect("pixels");
    // Columns are samples.
    let (mut a, mut ra) = (DMatrix::from_column_slice(6, SAMPLES, &pixels), DMatrix::zeros(6, SAMPLES));
    let mut inputs = Vec::new();
    let mut signs: Vec<DMatrix<f64>> = Vec::new();
    for (layer, width) in WIDTHS.into_iter().enumerate().skip(1) {
        let of = |flat: &[f64]| {
            let [weight, bias] = ["weight", "bias"].map(|part| format!("fc{layer}.{part}"));
            (matrix(flat, layout, &weight, width), matrix(flat, layout, &bias, width))
        };
        let ((w, b), (rw, rb)) = (of(weights), of(v));
        let spread = |b: &DMatrix<f64>| DMatrix::from_fn(b.nrows(), SAMPLES, |i, _| b[i]);
        let (z, rz) = (&w * &a + spread(&b), &w * &ra + &rw * &a + spread(&rb));
        inputs.push((w, rw, a, ra));
        let last = layer + 1 == WIDTHS.len();
        let sign = z.map(|z| if last || z > 0.0 { 1.0 } else { 0.0 });
        (a, ra) = (z.component_mul(&sign), rz.component_mul(&sign));
        signs.push(sign);
    }
    let hit = |i: usize, k: usize| if mlp.batch.labels[k] as usize == i { 1.0 } else { 0.0 };
    let n = SAMPLES as f64;
    let (mut d, mut rd) = match mlp.objective {
        Objective::SquaredError => {
            let scale = 2.0 / (n * CLASSES as f64);
            (DMatrix::from_fn(CLASSES, SAMPLES, |i, k| scale * (a[(i, k)] - hit(i, k))), scale * &ra)
        }
        Objective::CrossEntropy { label_smoothing } => {
            let sums: Vec<f64> = a.column_iter().map(|z| z.iter().map(|z| z.exp()).sum()).collect();
            let p = DMatrix::from_fn(CLASSES, SAMPLES, |i, k| a[(i, k)].exp() / sums[k]);
            let means: Vec<f64> = (0..SAMPLES).map(|k| p.column(k).dot(&ra.column(k))).collect();
            let rp = DMatrix::from_fn(CLASSES, SAMPLES, |i, k| p[(i, k)] * (ra[(i, k)] - means[k]) / n);
            let target = |i, k| (1.0 - label_smoothing) * hit(i, k) + label_smoothing / CLASSES as f64;
            (DMatrix::from_fn(CLASSES, SAMPLES, |i, k| (p[(i, k)] - target(i, k)) / n), rp)
        }
    };
    let mut product = vec![0.0; layout.len()];
    for (layer, (w, rw, a, ra)) in inputs.iter().enumerate().rev() {
        if layer + 1 < inputs.len() {
            let sign = &signs[layer];
            (d, rd) = (d.component_mul(sign), rd.component_mul(sign));
        }
        let weight = &rd * a.transpose() + &d * ra.transpose();
        let name = format!("fc{}", layer + 1);
        for (part, value) in
            [("weight", weight.transpose()), ("bias", rd.column_sum().into_owned().resize(rd.nrows(), 1, 0.0))]
        {
            let spec = layout.specs().iter().find(|s| s.name == format!("{name}.{part}")).expect("a parameter");
            product[spec.range()].copy_from_slice(value.as_slice());
        }
        let back = (w.transpose() * &d, rw.transpose() * &d + w.transpose() * &rd);
        (d, rd) = back;
    }
    product
}

/// Computes the Hessian column by column.
pub(super) fn dense(mlp: &SmallMlp) -> DMatrix<f64> {
    let weights: Vec<f64> = mlp.weights();
    let n = weights.len();
    let columns = (0..n).map(|i| {
        let unit: Vec<f64> = (0..n).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
        DVector::from_vec(exact(mlp, &weights, &unit))
    });
    DMatrix::from_columns(&columns.collect::<Vec<_>>())
}
