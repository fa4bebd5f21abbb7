// Enlarges pictures.

const dialog = document.querySelector("dialog");
for (const image of document.querySelectorAll(".pictures img")) {
  image.addEventListener("click", () => {
    dialog.querySelector("img").src = image.src;
    dialog.showModal();
  });
}
dialog.addEventListener("click", () => dialog.close());
