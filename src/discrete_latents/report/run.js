// Moves pictures through training.

for (const figure of document.querySelectorAll("figure.frames")) {
  const frames = figure.querySelectorAll("img"), slider = figure.querySelector("input"), label = figure.querySelector("output");
  const show = () => {
    frames.forEach((frame, i) => { frame.hidden = i !== Number(slider.value); });
    label.textContent = frames[slider.value].alt;
  };
  slider.addEventListener("input", show);
  slider.hidden = frames.length < 2;
  show();
}
