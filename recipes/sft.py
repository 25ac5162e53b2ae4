"""HER-SFT: dual-layer role-play from scenes, every reply of a conversation in one pass.

```bash
accelerate launch recipes/sft.py --config recipes/smollm2-135m/sft/config.yaml
accelerate launch recipes/sft.py --config recipes/smollm2-135m/sft/config.yaml --use_peft --output_dir outputs/lora
accelerate launch --config_file recipes/accelerate_configs/fsdp2.yaml recipes/sft.py \\
    --config recipes/qwen3-32b/sft/config.yaml
```

Every key of the YAML can be overridden on the command line; `--help` lists them all. The same command resumes a
killed run.
"""

import sys

from her_hf.training.run.launch import launch
from her_hf.training.sft import run_sft

if __name__ == "__main__":
    sys.exit(launch(run_sft))
