// Renders with @huggingface/jinja. Arguments: its node_modules folder, then the files of the request and the answer.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, asked, answered] = process.argv.slice(2);
const { Template } = createRequire(`${modules}/`)("@huggingface/jinja");

const { frames, conversations } = JSON.parse(readFileSync(asked, "utf8"));
const texts = {};
for (const [frame, { template }] of Object.entries(frames)) {
  const compiled = new Template(template);
  texts[frame] = conversations.map(({ messages, options }) => {
    try {
      return compiled.render({ ...options, messages });
    } catch (error) {
      return { error: String(error).slice(0, 500) };
    }
  });
}
writeFileSync(answered, JSON.stringify(texts));
