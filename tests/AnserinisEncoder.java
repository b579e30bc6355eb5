package splade_bridge;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * Weights by Anserini's own query encoder: a query a line in, "token\tweight" lines and an empty one out.
 *
 * By reflection, because the weights before they are quantized are protected, and because this is
 * compiled by any javac, while the jar wants a newer Java.
 */
public final class AnserinisEncoder {
  public static void main(String[] args) throws Exception {
    Class<?> kind = Class.forName(args[0]);
    Object encoder = kind.getConstructor().newInstance();
    Method weights = null;
    for (Class<?> c = kind; weights == null; c = c.getSuperclass()) {
      for (Method method : c.getDeclaredMethods()) {
        if (method.getName().equals("computeFloatWeights")) {
          weights = method;
        }
      }
    }
    weights.setAccessible(true);
    var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var out = new StringBuilder();
    for (String line; (line = in.readLine()) != null; ) {
      for (Map.Entry<?, ?> entry : ((Map<?, ?>) weights.invoke(encoder, line)).entrySet()) {
        out.append(entry.getKey()).append('\t').append(entry.getValue()).append('\n');
      }
      out.append('\n');
    }
    System.out.write(out.toString().getBytes(StandardCharsets.UTF_8));
    System.out.flush();
  }
}
