"""HER-SFT: dual-layer role-play from scenes, every reply of a conversation in one pass.

```bash
accelerate launch recipes/sft.py --config recipes/smollm2-135m/sft/config.yaml
accelerate launch recipes/sft.py --config recipes/smollm2-135m/sft/config.yaml --use_peft --output_dir outputs/lora
accelerate launch --config_file recipes/accelerate_configs/fsdp2.yaml recipes/sft.py \\
    --config recipes/qwen3-32b/sft/config.yaml
```

Every key of the YAML can be overridden on the command line; `--help` lists them all. The same command goes on
after a kill.
"""

from __future__ import annotations

import json
import logging
import sys

import yaml
from trl import ModelConfig, TrlParser

from her_hf.training.config import DataConfig, OnePassConfig
from her_hf.training.sft import run_sft


def main() -> int:
    """Parses the settings and runs; what the user can mend is one line, not a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        data, model, args = TrlParser((DataConfig, ModelConfig, OnePassConfig)).parse_args_and_config()
        results = run_sft(data, model, args)
    except yaml.YAMLError as error:
        print(f"Error: the config is no valid YAML: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError, ImportError) as error:  # ImportError: an attention or optimizer that is not installed
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if args.process_index == 0:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
