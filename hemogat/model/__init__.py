"""The PyTorch reference: encoders, graph step, HM-GAT, CMT, head and bank."""
